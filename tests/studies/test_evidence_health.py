"""Health: what happened besides training, counted by hand, and a timeline that stays small."""

from datetime import timedelta

from studies.evidence import health
from studies.evidence.health import health_of
from studies.evidence.timeline import MAX_WORKERS, Bar, bars_of, merged, timeline
from studies.reporting.health import concerns
from studies.reporting.section import Text
from tests.studies.evidence_of import evidence_of, evidence_of_case
from tests.studies.sample_campaign import ENVIRONMENT, START, Told, make_spec
from tests.studies.sample_cases import OTHER, REFERENCE, THIRD, done


def test_counts_by_hand() -> None:
    gpu = {**ENVIRONMENT, "device": "cuda", "device_name": "H100"}
    trials = [
        done(REFERENCE, 0.8, 0.8, attrs={"seconds": 10.0, "epochs_recomputed": 1, "attempt": 2}),
        done(OTHER, 0.8, 0.8, attrs={"seconds": 30.0}),
        done(OTHER, 0.8, 0.8, attrs={"seconds": 2.0}, environment=gpu),
        Told(OTHER, "pruned", curve=[0.4]),
        *(Told(THIRD, "failed", error=f"out of memory\nline {i}") for i in range(2)),
        Told(THIRD, "failed"),
    ]
    found = health_of(evidence_of(make_spec(), [trials]).frame)

    assert (found.n_failed, found.n_retried, found.n_pruned) == (3, 0, 1)
    assert (found.epochs, found.epochs_recomputed, found.n_interrupted, found.most_attempts) == (7, 1, 1, 2)
    assert [(r.text, r.n_trials) for r in found.reasons] == [("out of memory", 2), ("no reason given", 1)]
    # Two epochs each; the pruned one had one epoch in 12.5 seconds.
    speeds = {s.device: (s.n_trials, s.median, s.least, s.most) for s in found.speeds}
    assert speeds == {"cpu x86_64": (3, 12.5, 5.0, 15.0), "cuda H100": (1, 1.0, 1.0, 1.0)}


def test_the_retried_are_told() -> None:
    section = health.section(evidence_of_case("retried"))
    text = section.blocks[0]

    assert isinstance(text, Text)
    assert text.text == (
        "No trial failed for good; 1 trial died and was retried; 1 epoch (25 % of those kept) had to be trained again."
    )


def test_a_bar_a_claimed_trial() -> None:
    trials = [done(REFERENCE, 0.8, 0.8), Told(OTHER, "running", curve=[0.5]), Told({}, "waiting")]
    evidence = evidence_of(make_spec(), [trials])
    bars = bars_of(evidence.frame, {pair.study: pair.label for pair in evidence.analysis.pairs})

    # Claimed at 0 and at 3 minutes; what still runs reaches to the last moment known.
    assert [(bar.worker, bar.state, bar.begin, bar.end) for bar in bars] == [
        ("w0", "complete", 0.0, 120.0),
        ("worker not told yet", "running", 180.0, 180.0),
    ]


def test_too_many_bars_become_fewer_and_lose_no_trial() -> None:
    bars = [
        Bar("w", "failed" if i % 50 == 7 else "complete", 10.0 * i, 10.0 * i + 9, f"trial {i}") for i in range(5000)
    ]
    fewer = merged(bars, 300)

    assert len(fewer) <= 300
    assert sum(bar.n_trials for bar in fewer) == 5000
    assert sum(bar.n_trials for bar in fewer if bar.state == "failed") == 100
    assert merged(bars[:300], 300) == bars[:300]


def test_the_busiest_workers_are_drawn_and_the_others_counted() -> None:
    trials = [done(REFERENCE, 0.8, 0.8, attrs={"worker": f"w{i:03}"}) for i in range(MAX_WORKERS + 5)]
    evidence = evidence_of(make_spec(), [trials])
    drawing = timeline(evidence.frame, evidence.analysis)

    assert drawing is not None
    assert "Not drawn: 5 workers with fewer trials." in drawing.caption


def test_clocks_that_went_backwards_are_no_obstacle() -> None:
    evidence = evidence_of(make_spec(), [[done(REFERENCE, 0.8, 0.8), done(OTHER, 0.8, 0.8)]])
    frame = evidence.frame.copy()
    frame.loc[1, "finished"] = START - timedelta(minutes=5)

    assert timeline(frame, evidence.analysis) is not None


def test_a_planned_seed_that_nobody_trained_is_a_concern() -> None:
    told = Told(REFERENCE, val=(0.8, 0.8), test=(0.8, 0.8), seeds=(0, 1))
    evidence = evidence_of(make_spec(seeds=(0, 1, 2)), [[told]])
    found = [concern.text for concern in concerns(evidence.frame, evidence.analysis, evidence.provenance.spec)]

    assert "1 complete trial without seed 2, though planned." in found
