"""Early stopping: rank correlations, forecasts and savings by hand, and whether the chances told come true."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.evidence import stopping_section
from studies.evidence.forecast import FEWEST, Line, rank_correlation
from studies.evidence.stopping import PairStopping, Verdict, stopping, verdict
from studies.evidence.stopping_figure import MAX_STOPPED, chance
from studies.evidence.stopping_section import MAX_ROWS
from studies.reporting.section import Section, Text
from studies.spec import StudySpec
from studies.tables import Table
from tests.studies.evidence_of import evidence_of, evidence_of_case
from tests.studies.sample_campaign import ENVIRONMENT, Told, make_spec
from tests.studies.sample_cases import OTHER, done, load

FOUR_EPOCHS = make_spec(epochs=4)
EARLY = (0.50, 0.60, 0.70, 0.80, 0.90)
FINAL = (0.801, 0.818, 0.840, 0.862, 0.879)
"""0.2 · early + 0.7, and residuals 1, −2, 0, 2, −1 thousandths, which sum to 0 and do not lean to either side."""


def ran(curve: Sequence[float], state: str = "complete", **more: object) -> Told:
    return Told(OTHER, state, curve=curve, **more)


def unstopped(second: Sequence[float] = EARLY, final: Sequence[float] = FINAL) -> list[Told]:
    return [ran((0.4, now, 0.5 + now / 10, end)) for now, end in zip(second, final, strict=True)]


def only(trials: list[Told], spec: StudySpec = FOUR_EPOCHS) -> PairStopping:
    frame, _ = load(spec, [trials])
    (pair,) = stopping(frame, spec, {plan.name: "the pair" for plan in spec.plans()})
    return pair


def told_of(trials: list[Told], spec: StudySpec = FOUR_EPOCHS) -> Section:
    made = stopping_section.section(evidence_of(spec, [trials]))
    assert made is not None
    return made


def finding(section: Section) -> str:
    return next(block.text for block in section.blocks if isinstance(block, Text))


def test_rank_correlation_by_hand() -> None:
    # Two neighbours changed places: 1 − 6 · (1² + 1²) / (5 · (5² − 1)) = 0.9.
    assert rank_correlation(np.array([0.1, 0.2, 0.3, 0.5, 0.4]), np.array(FINAL)) == pytest.approx(0.9)
    assert rank_correlation(np.array([0.5, 0.4, 0.3, 0.2, 0.1]), np.array(FINAL)) == pytest.approx(-1)
    # Four are too few, a NaN is not there, and trials that are all alike have no order.
    assert math.isnan(rank_correlation(np.array(EARLY[:4]), np.array(FINAL[:4])))
    assert math.isnan(rank_correlation(np.array([math.nan, *EARLY[1:]]), np.array(FINAL)))
    assert math.isnan(rank_correlation(np.full(5, 0.4), np.array(FINAL)))


def test_a_forecast_by_hand() -> None:
    line = Line.fit(np.array(EARLY), np.array(FINAL))
    assert line is not None
    # Residuals: √(10e-6 / 3) = 0.0018257. At 0.6 the variance is 1 + 1/5 + 0.1² / 0.1 = 1.3 times that: 0.0020817.
    # t(0.975, 3) = 3.182446 and t(0.95, 3) = 2.353363.
    told = line.forecast(0.6, best=0.82 + 2.353363 * 0.0020817)

    assert told.mean == pytest.approx(0.82)
    assert (told.low, told.high) == pytest.approx((0.82 - 0.0066248, 0.82 + 0.0066248), abs=1e-6)
    assert told.chance == pytest.approx(0.05, abs=1e-4)
    assert (told.at_most, told.n) == (False, 5)


def test_below_all_others_it_counts_as_the_worst_of_them() -> None:
    line = Line.fit(np.array(EARLY), np.array(FINAL))
    assert line is not None
    worst, below = line.forecast(0.5, 0.81), line.forecast(0.1, 0.81)

    assert below.at_most
    assert not worst.at_most
    assert (below.mean, below.chance) == (worst.mean, worst.chance)
    assert line.forecast(0.99, 0.81).mean == pytest.approx(0.88)  # above all: as the best of them


def test_without_scatter_the_forecast_is_certain() -> None:
    line = Line.fit(np.array(EARLY), np.array(EARLY) / 2)
    assert line is not None
    assert (line.forecast(0.9, 0.44).chance, line.forecast(0.9, 0.46).chance) == (1.0, 0.0)


def test_where_all_were_alike_the_mean_is_all_that_is_known() -> None:
    line = Line.fit(np.full(5, 0.4), np.array(FINAL))
    assert line is not None
    told = line.forecast(0.4, best=0.84)

    assert told.mean == pytest.approx(0.84)
    assert told.chance == pytest.approx(0.5)


@given(
    trials=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12),
    accuracy=st.floats(0, 1),
    best=st.floats(0, 1),
)
def test_forecasts_are_accuracies_and_chances(trials: list[tuple[float, float]], accuracy: float, best: float) -> None:
    line = Line.fit(*np.array(trials).T)

    assert (line is None) == (len(trials) < FEWEST)
    if line is not None:
        told = line.forecast(accuracy, best)
        assert 0 <= told.low <= told.mean <= told.high <= 1
        assert 0 <= told.chance <= 1
        assert told.chance >= line.forecast(accuracy, min(1.0, best + 0.1)).chance  # the more to beat, the less likely
        assert told.at_most == (accuracy < min(early for early, _ in trials))


def test_chances_come_true_no_more_often_than_told() -> None:
    rng = np.random.default_rng(0)
    told = beaten = 0.0
    for _ in range(60):
        early = rng.normal(0.8, 0.02, 30)
        final = 0.9 + 0.4 * (early - 0.8) + rng.normal(0, 0.01, 30)
        goes_on = np.array([i < 8 or early[i] >= np.median(early[:i]) for i in range(30)])
        line = Line.fit(early[goes_on], final[goes_on])
        assert line is not None
        best = float(final[goes_on].max())
        told += sum(line.forecast(float(now), best).chance for now in early[~goes_on])
        beaten += float((final[~goes_on] > best).sum())

    assert 0 < beaten < told < 4 * beaten


def test_a_campaign_by_hand() -> None:
    stopped = [ran((0.4, 0.6), "pruned"), ran((0.1,), "pruned")]
    pair = only([*unstopped(), *stopped])

    assert (pair.n, pair.best, pair.epochs) == (5, 0.879, 28)
    assert np.isnan(pair.correlation[0])  # all had 0.4
    assert pair.correlation[1:] == pytest.approx((1, 1, 1))
    assert pair.settled == 2
    second, first = pair.stopped
    assert (second.number, second.epoch, second.accuracy) == (5, 2, 0.6)
    assert second.forecast is not None
    assert second.forecast.mean == pytest.approx(0.82)
    assert first.forecast is not None  # all others had 0.4 after the first epoch
    assert first.forecast.at_most
    # Twelve and a half seconds for two epochs and for one: 2 · 6.25 and 3 · 12.5.
    assert [(one.epochs_saved, one.seconds_saved) for one in pair.stopped] == [(2, 12.5), (3, 37.5)]
    assert (pair.epochs_saved, pair.seconds_saved) == (5, 50.0)


def test_an_own_pace_that_is_not_known_is_the_pairs() -> None:
    pair = only([*unstopped(), ran((0.4, 0.6), "pruned", attrs={"seconds": None})])
    assert pair.seconds_saved == pytest.approx(2 * 12.5 / 4)

    nobody = only([ran((0.4, 0.6), "pruned", attrs={"seconds": None})])
    assert math.isnan(nobody.seconds_saved)


def test_trials_of_another_length_are_not_compared() -> None:
    search = {"train_multiplier": [1.0, 2.0]}
    spec = make_spec(search=search, reference=None, epochs=4, sampler="grid")
    short = [Told({"train_multiplier": 1.0}, curve=told.curve) for told in unstopped()]
    long = Told({"train_multiplier": 2.0}, curve=[0.9] * 8)
    stopped = [Told({"train_multiplier": factor}, "pruned", curve=[0.4, 0.6]) for factor in (1.0, 2.0)]
    pair = only([*short, long, *stopped], spec)

    assert (pair.n, pair.best, len(pair.correlation)) == (5, 0.9, 4)
    assert pair.stopped[0].forecast is not None
    assert pair.stopped[1].forecast is None
    assert [one.epochs_saved for one in pair.stopped] == [2, 6]


@pytest.mark.parametrize(
    ("accuracy", "expected", "says"),
    [
        (0.6, Verdict.DID_NOT, "Pruning did not mislead: of 1 trial stopped early none is likely"),
        (0.89, Verdict.MAY_HAVE, "Pruning may have misled: the chance that of 1 trial stopped early one would"),
        (0.95, Verdict.MISLED, "Pruning misled: of 1 trial stopped early 1 would more likely than not"),
    ],
)
def test_the_verdict_follows_from_the_chance(accuracy: float, expected: Verdict, says: str) -> None:
    trials = [*unstopped(), ran((0.4, accuracy), "pruned")]
    assert verdict([only(trials)]) is expected

    made = told_of(trials)
    assert finding(made).startswith(says)
    assert finding(made).endswith("Stopping saved 2 epochs (8 % of all) and 12.5 s.")


def test_many_small_chances_add_up() -> None:
    section = told_of([*unstopped(), *(ran((0.4, 0.885), "pruned") for _ in range(MAX_STOPPED + 4))])

    assert "of 20 trials stopped early up to " in finding(section)
    (drawing,) = section.drawings
    assert "Not drawn: 4 stopped trials with less of a chance." in drawing.caption
    table = next(block for block in section.blocks if isinstance(block, Table) and block.name == "stopped")
    assert len(table.rows) == MAX_ROWS
    assert table.title.endswith("(the likeliest 12 of 20 to have won)")


def test_too_few_unstopped_trials_cannot_tell() -> None:
    section = told_of([*unstopped()[:4], ran((0.4, 0.6), "pruned")])

    assert section.summary["verdict"] == "cannot_tell"
    assert finding(section).startswith(
        "Whether pruning misled cannot be told: nothing can be said of 1 of 1 trial stopped early, for"
    )
    assert section.summary["pairs"][0]["stopped"][0]["rests_on"] == 0


def test_accuracies_that_are_no_numbers_are_left_out() -> None:
    broken = [ran((0.4, math.nan, 0.5, 0.9)), ran((0.4, 0.6, 0.5, math.nan)), ran((0.4, math.nan), "pruned")]
    pair = only([*unstopped(), *broken])

    assert pair.n == 6  # final accuracies
    assert pair.best == 0.9
    assert pair.correlation[1] == pytest.approx(1)
    assert pair.stopped[0].forecast is None


def test_a_trial_stopped_before_its_first_epoch_saved_all_of_them() -> None:
    pair = only([*unstopped(), ran((), "pruned")])

    assert [(one.epoch, one.forecast, one.epochs_saved) for one in pair.stopped] == [(0, None, 4)]


def test_gpu_hours_where_only_gpus_trained() -> None:
    gpu = {**ENVIRONMENT, "device": "cuda", "device_name": "H100"}
    trials = [ran(told.curve or (), environment=gpu) for told in unstopped()]
    stopped = ran((0.4, 0.6), "pruned", environment=gpu, attrs={"seconds": 3600.0})

    assert finding(told_of([*trials, stopped])).endswith("Stopping saved 2 epochs (8 % of all) and 1 GPU-hours.")


def test_nothing_stopped_tells_how_soon_the_order_settles() -> None:
    section = told_of(unstopped())

    assert finding(section) == (
        "No trial was stopped early, so pruning neither saved anything nor misled. From epoch 2 of 4 on accuracy ranks "
        "the trials nearly as in the end (rank correlation of 0.9 or more)."
    )
    assert section.blocks[-1] == Text("Everything here is validation accuracy, the mean over the seeds.", "note")
    stopped = told_of([*unstopped(), ran((0.4, 0.6), "pruned")]).blocks[-1]
    assert isinstance(stopped, Text)
    assert "These trials survived pruning" in stopped.text


def test_one_seed_is_enough() -> None:
    spec = make_spec(seeds=(3,), epochs=4)
    trials = [Told(told.params, curve=told.curve, val=(told.curve or ())[-1:]) for told in unstopped()]

    assert only(trials, spec).correlation[1:] == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("n_trials", [0, 1, 2])
def test_few_trials_say_that_they_are_too_few(n_trials: int) -> None:
    section = told_of([done(OTHER, 0.8, 0.8) for _ in range(n_trials)])

    assert finding(section).startswith("No trial was stopped early. No pair has 5 trials")
    assert section.drawings == ()


def test_without_a_pruner_and_with_too_few_trials_there_is_no_section() -> None:
    assert stopping_section.section(evidence_of_case("any_sparsity")) is None


def test_all_pruned_cannot_tell_but_saves() -> None:
    section = told_of([ran((0.4, 0.6), "pruned"), ran((0.3,), "pruned")])

    assert section.summary["verdict"] == "cannot_tell"
    assert "Stopping saved 5 epochs (62 % of all)" in finding(section)
    assert section.drawings == ()


def test_chances_are_never_rounded_to_none_or_certain() -> None:
    assert [chance(p) for p in (0.0, 0.004, 0.07, 0.5, 0.996, 1.0)] == [
        "< 1 %",
        "< 1 %",
        "7 %",
        "50 %",
        "> 99 %",
        "> 99 %",
    ]
    assert [chance(p, at_most=True) for p in (0.004, 0.07, 1.0)] == ["< 1 %", "≤ 7 %", "≤ 99 %"]
