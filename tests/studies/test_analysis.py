"""The analysis, against numbers worked out by hand."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.analysis import analyse, difference, pair_label, select_best
from studies.reporting.findings import Estimate, PairResult, Verdict
from studies.reporting.health import concerns
from studies.reporting.result_words import answer, headline, pair_headline, verdict
from studies.reporting.wording import duration, number, percent, points
from studies.search_space import Params
from tests.studies.sample_campaign import ENVIRONMENT, REFERENCE, Told, make_spec, realistic
from tests.studies.sample_cases import CASES, OTHER, THIRD, Case, done, load

ONE_PAIR = make_spec(seeds=(0, 1, 2))


def told(params: dict[str, object], val: tuple[float, ...], test: tuple[float, ...], **more: object) -> Told:
    return Told(params, val=val, test=test, **more)


def pair_of(*trials: Told, seeds: tuple[int, ...] = (0, 1, 2)) -> PairResult:
    frame, _ = load(make_spec(seeds=seeds), [list(trials)])
    (pair,) = analyse(frame, "sample").pairs
    return pair


def three_seeds() -> PairResult:
    """Differences on test of 0.4, 0.5 and 0.6 points: mean 0.5, s = 0.1, t(0.975, 2) = 4.3027, half width 0.2484."""
    return pair_of(
        told(REFERENCE, (0.850, 0.851, 0.852), (0.840, 0.842, 0.844)),
        told(OTHER, (0.860, 0.861, 0.862), (0.844, 0.847, 0.850)),
    )


def test_difference_by_hand() -> None:
    pair = three_seeds()
    gap = pair.test_difference

    assert gap is not None
    assert gap.by_seed == pytest.approx({0: 0.004, 1: 0.005, 2: 0.006})
    assert gap.mean == pytest.approx(0.005)
    assert gap.std == pytest.approx(0.001)
    assert gap.standard_error == pytest.approx(0.001 / math.sqrt(3))
    assert (gap.low, gap.high) == pytest.approx((0.005 - 0.0024841, 0.005 + 0.0024841), abs=1e-7)
    assert pair.gain is not None  # two trials are no response: the paired interval itself, t(0.95, 2) = 2.91999
    assert (pair.gain.low, pair.gain.high) == pytest.approx((gap.low, gap.high))
    assert (pair.gain.at_least, pair.gain.at_most) == pytest.approx((0.0033142, 0.0066858), abs=1e-7)
    assert pair.verdict is Verdict.PAYS
    assert verdict(pair) == "The best found gains 0.50 points (95 % interval +0.25 to +0.75): it pays."


def test_estimates_by_hand() -> None:
    pair = three_seeds()

    assert pair.reference is not None
    assert pair.best is not None
    assert pair.reference.test_accuracy == Estimate(pytest.approx(0.842), pytest.approx(0.002), 3)
    assert pair.best.number == 1
    assert pair.best.params == OTHER
    assert pair.n_compared == 2


def test_headline_by_hand() -> None:
    assert pair_headline(three_seeds()) == (
        "S = 0.98 ERK: reference (η 0.1, α 0.3, ΔT 100) 84.2 ± 0.2 % test; best of 2 on validation (η 0.05, "
        "α 0.4, ΔT 250) 84.7 ± 0.3 %; the best found gains 0.50 points (95 % interval +0.25 to +0.75): it pays"
    )


def test_a_difference_that_seeds_leave_open_is_said_to_be_open() -> None:
    # Differences −0.1, 0.2 and 0.8: mean 0.3, s = 0.4583; t(0.975, 2) = 4.3027, so 0.3 ± 1.14 points.
    pair = pair_of(told(REFERENCE, (0.85,) * 3, (0.836, 0.844, 0.842)), told(OTHER, (0.86,) * 3, (0.835, 0.846, 0.850)))

    assert pair.verdict is Verdict.UNDECIDED
    said = "he best found gains −0.8 to +1.4 points (95 % interval): undecided"
    assert verdict(pair) == f"T{said}."  # of two trials nobody can say how many seeds would settle it
    assert said in pair_headline(pair)


def test_of_two_trials_with_two_seeds_no_interval_is_told() -> None:
    # Differences 0.4 and 0.6: mean 0.5, s = 0.1414; t(0.975, 1) = 12.706, so 0.5 ± 1.27 points would say nothing.
    pair = pair_of(
        told(REFERENCE, (0.85, 0.85), (0.840, 0.842)), told(OTHER, (0.86, 0.86), (0.844, 0.848)), seeds=(0, 1)
    )

    assert pair.gain is None
    assert pair.verdict is Verdict.NO_INTERVAL
    assert verdict(pair) == "Too few trials to say: +0.5 ± 0.1 points on test over 2 seeds."
    assert "(too few trials to say)" in pair_headline(pair)


def test_after_a_trial_that_was_pruned_at_once_nothing_is_said_of_tuning() -> None:
    pair = pair_of(
        told(REFERENCE, (0.85,) * 3, (0.84,) * 3),
        Told(OTHER, "pruned", curve=[0.3]),
        *[Told({}, "waiting") for _ in range(10)],
    )

    assert pair.verdict is Verdict.ONLY_REFERENCE
    assert verdict(pair) == "Nothing to compare: only the reference is complete."


def test_what_is_not_finished_makes_a_verdict_provisional() -> None:
    reference, worse = told(REFERENCE, (0.85,) * 3, (0.84,) * 3), told(OTHER, (0.84,) * 3, (0.83,) * 3)
    pair = pair_of(reference, worse, *[Told({}, "waiting") for _ in range(10)])

    assert pair.is_provisional
    assert pair.verdict is Verdict.REFERENCE_IS_BEST
    # One trial: 1 − 0.05 of the box may be better; five: 1 − 0.05 ** 0.2 = 0.4507.
    assert verdict(pair) == (
        "No better setting was found among 1; better ones may still make up 95 % of the box (with 95 % confidence, had "
        "the trials been drawn at random) (provisional: 10 trials are waiting or running)."
    )
    others = [told({**OTHER, "alpha": 0.11 + 0.02 * i}, (0.84,) * 3, (0.83,) * 3) for i in range(5)]
    assert "among 5; better ones may still make up 45 % of the box" in verdict(pair_of(reference, *others))


def test_a_winner_on_validation_may_lose_on_test() -> None:
    pair = pair_of(
        told(REFERENCE, (0.850, 0.851, 0.852), (0.850, 0.851, 0.852)),
        told(OTHER, (0.860, 0.861, 0.862), (0.840, 0.8411, 0.842)),
    )

    assert pair.verdict is Verdict.NOTHING_FOUND  # one setting was tried of a whole box
    assert verdict(pair).startswith("The best found gains −1.00 points (95 % interval −1.01 to −0.98), less than the ")
    assert "of the box is far from every trial" in verdict(pair)


def test_the_answer_of_one_pair_says_what_both_reached() -> None:
    gained = [
        told(REFERENCE, (0.800,) * 3, (0.700, 0.710, 0.720)),
        told(OTHER, (0.900,) * 3, (0.800, 0.810, 0.825)),
    ]
    frame, _ = load(make_spec(seeds=(0, 1, 2)), [gained])

    # Differences of 10, 10 and 10.5 points: 10.17 with a standard error of 1/6, and t(0.975, 2) = 4.3027.
    assert answer(analyse(frame, "")) == (
        "At S = 0.98 ERK the reference (η 0.1, α 0.3, ΔT 100) reaches 71.0 ± 1.0 % on test, the best of 2 on "
        "validation (η 0.05, α 0.4, ΔT 250) reaches 81.2 ± 1.3 %; the best found gains 10.2 points (95 "
        "% interval +9.4 to +10.9): it pays."
    )


def test_a_setting_that_diverged_on_one_seed_says_nothing_about_the_noise_of_the_others() -> None:
    trials = realistic(ONE_PAIR, n_trials=16, seed=5)[0]
    diverged = Told({"lr": 0.29, "alpha": 0.5, "delta_t": 800}, val=(0.84, 0.1, 0.84), test=(0.84, 0.1, 0.84))
    one, other = pair_of(*trials), pair_of(*trials, diverged)

    assert one.gain is not None
    assert one.verdict is not Verdict.UNDECIDED
    assert (other.gain, other.verdict) == (one.gain, one.verdict)


def test_with_one_seed_noise_is_told_from_hopeless_settings_by_the_best() -> None:
    rng = np.random.default_rng(0)

    def trial(lr: float, reached: float) -> Told:
        return Told({**REFERENCE, "lr": lr}, val=(reached,), test=(reached + 0.01 * rng.normal(),))

    noisy = [trial(0.01 + 0.005 * i, 0.8 + 0.013 * rng.normal()) for i in range(14)]
    reference, hopeless = trial(0.1, 0.8), [trial(0.11 + 0.005 * i, 0.1 + 0.001 * i) for i in range(20)]
    one, other = pair_of(reference, *noisy, seeds=(0,)), pair_of(reference, *noisy, *hopeless, seeds=(0,))

    assert one.gain is not None
    assert one.gain.low > -0.05
    assert one.gain.high < 0.05
    assert other.gain == one.gain


def test_the_gain_is_that_of_the_best_over_the_reference_as_the_whole_response_shows_it() -> None:
    noise = np.random.default_rng(0)

    def trial(lr: float) -> Told:  # 0.9 at its best, a learning rate of 0.03; 2.73 points below at the reference
        reached = 0.9 - 0.1 * math.log10(lr / 0.03) ** 2
        val, test = (tuple(reached + noise.normal(0, 0.001, 3)) for _ in range(2))
        return told({**REFERENCE, "lr": lr}, val, test)

    pair = pair_of(*(trial(lr) for lr in (0.1, 0.2, 0.01, 0.015, 0.3, 0.02, 0.025, 0.03, 0.15, 0.035, 0.04, 0.06)))

    assert pair.reference is not None
    assert pair.reference.number == 0
    assert pair.gain is not None
    assert pair.gain.mean == pytest.approx(0.0273, abs=0.002)
    assert pair.gain.at_least > 0.024
    assert pair.gain.at_most < 0.031
    assert pair.verdict is Verdict.PAYS


def test_one_seed_gives_no_interval() -> None:
    pair = pair_of(told(REFERENCE, (0.8,), (0.79,)), told(OTHER, (0.82,), (0.8,)), seeds=(7,))

    assert pair.test_difference is not None
    assert math.isnan(pair.test_difference.std)
    assert pair.test_difference.low is None
    assert pair.verdict is Verdict.NO_INTERVAL
    assert "over 1 seed (no interval)" in pair_headline(pair)


def test_the_same_difference_on_every_seed_is_no_proof() -> None:
    pair = pair_of(told(REFERENCE, (0.8, 0.8), (0.7, 0.8)), told(OTHER, (0.9, 0.9), (0.75, 0.85)), seeds=(0, 1))

    assert pair.verdict is Verdict.NO_INTERVAL
    assert "the same on every seed" in verdict(pair)


def test_seeds_are_paired_by_their_names_not_by_their_order() -> None:
    pair = pair_of(
        told(REFERENCE, (0.80, 0.81, 0.82), (0.70, 0.71, 0.72)),
        told(OTHER, (0.92, 0.91, 0.90), (0.83, 0.80, 0.77), seeds=(2, 1, 5)),
    )

    assert pair.test_difference is not None
    assert pair.test_difference.by_seed == pytest.approx({2: 0.11, 1: 0.09})


def test_a_tie_goes_to_the_reference() -> None:
    pair = pair_of(told(OTHER, (0.8,) * 3, (0.9,) * 3), told(REFERENCE, (0.8,) * 3, (0.7,) * 3))

    assert pair.best == pair.reference
    assert pair.verdict is Verdict.REFERENCE_IS_BEST
    assert pair.test_difference is None


def test_drawing_the_reference_again_is_no_discovery() -> None:
    pair = pair_of(told(REFERENCE, (0.80,) * 3, (0.7,) * 3), told(REFERENCE, (0.81,) * 3, (0.9,) * 3))

    assert pair.verdict is Verdict.ONLY_REFERENCE
    assert pair.best is not None
    assert pair.best.number == 0


def test_methods_are_compared_and_not_tuned() -> None:
    methods = ["dense", "static", "rigl"]
    spec = make_spec(search={"method": methods}, reference={"method": "static"}, sampler="grid", seeds=(0, 1, 2))
    reached = {"dense": 0.94, "static": 0.90, "rigl": 0.92}
    frame, _ = load(spec, [[told({"method": m}, (reached[m],) * 3, (0.9, 0.91, 0.93)) for m in methods]])
    analysis = analyse(frame, "sample")
    (pair,) = analysis.pairs

    assert (analysis.params, analysis.compared, analysis.tuned) == (("method",), ("method",), ())
    assert pair.verdict is Verdict.NOT_TUNED
    assert pair.best is not None
    assert pair.best.params == {"method": "rigl"}  # a dense network is no way to train a sparse one
    assert (pair.n_compared, pair.gain, pair.test_difference) == (2, None, None)
    assert "uning gains" not in pair_headline(pair)
    assert verdict(pair) == "Nothing was tuned: trials differ in method alone, that is in what is trained."


def test_only_trials_of_the_references_method_tell_what_tuning_gains() -> None:
    search = {"method": ["dense", "rigl"], "lr": [0.1, 0.2, 0.4]}
    reference: Params = {"method": "rigl", "lr": 0.1}
    spec = make_spec(search=search, reference=reference, sampler="grid", seeds=(0, 1, 2))
    trials = [
        told(reference, (0.850, 0.851, 0.852), (0.840, 0.842, 0.844)),
        told({"method": "rigl", "lr": 0.2}, (0.860, 0.861, 0.862), (0.844, 0.847, 0.850)),
        told({"method": "dense", "lr": 0.2}, (0.95,) * 3, (0.95, 0.94, 0.96)),
    ]
    frame, _ = load(spec, [trials])
    (pair,) = analyse(frame, "sample").pairs
    alone, _ = load(spec, [trials[:2]])
    (expected,) = analyse(alone, "sample").pairs

    assert pair.best is not None
    assert (pair.best.number, pair.n_compared, pair.verdict) == (1, 2, Verdict.PAYS)
    assert pair.gain == expected.gain
    assert pair.counts["complete"] == 3
    (pair,) = analyse(frame, "sample", not_tuned=()).pairs  # as of a study of another program
    assert pair.best is not None
    assert pair.best.number == 2


def test_without_a_reference_the_best_is_that_of_all_methods() -> None:
    search = {"method": ["static", "rigl"], "lr": [0.1, 0.2]}
    spec = make_spec(search=search, reference=None, sampler="grid", seeds=(0, 1))
    told_of = {("static", 0.1): 0.91, ("rigl", 0.1): 0.92, ("rigl", 0.2): 0.93, ("static", 0.2): 0.90}
    trials = [told({"method": m, "lr": lr}, (value, value), (0.9, 0.9)) for (m, lr), value in told_of.items()]
    frame, _ = load(spec, [trials])
    (pair,) = analyse(frame, "sample").pairs

    assert pair.verdict is Verdict.NO_REFERENCE
    assert pair.best is not None
    assert (pair.best.params, pair.n_compared) == ({"method": "rigl", "lr": 0.2}, 4)


def test_less_sparsity_is_no_tuning() -> None:
    spec = CASES["any_sparsity"]().spec
    frame, _ = load(spec, [[done({"sparsity": s, "distribution": "erk"}, 0.9 - s / 9, 0.8) for s in (0.5, 0.9)]])

    assert analyse(frame, "free").pairs[0].verdict is Verdict.NOT_TUNED


def test_pruned_failed_and_nan_trials_cannot_win() -> None:
    pair = pair_of(
        told(REFERENCE, (0.8,) * 3, (0.7,) * 3),
        Told(OTHER, "pruned", curve=[0.99]),
        Told(THIRD, "failed", curve=[0.99], error="x"),
        told(THIRD, (math.nan,) * 3, (0.99,) * 3),
    )

    assert pair.best is not None
    assert pair.best.number == 0
    assert pair.counts == {"waiting": 0, "running": 0, "complete": 2, "pruned": 1, "failed": 1, "retried": 0}


@functools.cache
def chosen_from(seed: int) -> tuple[pd.DataFrame, list[int | None]]:
    """The trials of a campaign, and the best of each pair."""
    spec = make_spec(n_trials=8)
    frame, _ = load(spec, realistic(spec, n_trials=8, seed=seed))
    return frame, [pair.best and pair.best.number for pair in analyse(frame, "").pairs]


@settings(max_examples=60)
@given(data=st.data())
def test_selection_never_depends_on_test_accuracy(data: st.DataObject) -> None:
    frame, chosen = chosen_from(data.draw(st.integers(0, 20)))
    order = data.draw(st.permutations(range(len(frame))))
    shuffled = frame.assign(test_accuracy=frame["test_accuracy"].iloc[list(order)].to_numpy())

    assert select_best(shuffled) == select_best(frame)
    assert [pair.best and pair.best.number for pair in analyse(shuffled, "").pairs] == chosen


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6).filter(
        lambda pairs: np.ptp([a - b for a, b in pairs]) > 1e-6
    )
)
def test_interval_agrees_with_a_paired_t_test(values: list[tuple[float, float]]) -> None:
    from scipy.stats import ttest_rel

    best, reference = (dict(enumerate(column)) for column in zip(*values, strict=True))
    gap = difference(best, reference)
    expected = ttest_rel(list(best.values()), list(reference.values())).confidence_interval(0.95)

    assert gap is not None
    assert (gap.low, gap.high) == pytest.approx((expected.low, expected.high))


def test_difference_without_common_seeds_or_with_nan() -> None:
    assert difference({0: 0.8}, {1: 0.8}) is None
    assert difference({0: math.nan, 1: 0.8}, {0: 0.7, 1: 0.8}) is None
    assert difference({}, {}) is None


@pytest.mark.parametrize(
    ("case", "expected"),
    {
        "nothing_stored": Verdict.NOTHING_COMPLETE,
        "all_waiting": Verdict.NOTHING_COMPLETE,
        "first_epoch": Verdict.NOTHING_COMPLETE,
        "one_complete": Verdict.ONLY_REFERENCE,
        "all_pruned": Verdict.NOTHING_COMPLETE,
        "all_failed": Verdict.NOTHING_COMPLETE,
        "no_reference": Verdict.NO_REFERENCE,
        "reference_pruned": Verdict.NO_REFERENCE,
        "no_search": Verdict.NOT_SEARCHED,
        "side_by_side": Verdict.NOT_TUNED,
        "not_a_number": Verdict.NO_TEST,
        "no_test": Verdict.NO_TEST,
        "one_seed": Verdict.NO_INTERVAL,
    }.items(),
)
def test_verdicts_of_the_corners(case: str, expected: Verdict) -> None:
    frame, _ = CASES[case]().load()

    assert analyse(frame, "").pairs[0].verdict is expected


@pytest.mark.parametrize("case", CASES)
def test_every_corner_has_a_headline_and_an_answer(case: str) -> None:
    frame, provenance = CASES[case]().load()
    analysis = analyse(frame, provenance.campaign)

    lines = headline(analysis).splitlines()
    assert len(lines) == len(provenance.spec.plans())
    for text in (*lines, answer(analysis), *map(verdict, analysis.pairs)):
        assert "nan" not in text
        assert "None" not in text


def test_the_answer_counts_the_pairs() -> None:
    spec = make_spec(sparsity=(0.5, 0.8, 0.9, 0.98), seeds=(0, 1, 2))
    reference = told(REFERENCE, (0.80,) * 3, (0.70, 0.71, 0.72))
    clear, open_ = told(OTHER, (0.9,) * 3, (0.80, 0.81, 0.825)), told(OTHER, (0.9,) * 3, (0.60, 0.71, 0.90))
    worse = told(OTHER, (0.7,) * 3, (0.60, 0.61, 0.62))
    frame, _ = load(spec, [[reference, clear], [reference, open_], [reference, worse], [Told(REFERENCE, "waiting")]])

    assert answer(analyse(frame, "")) == (
        "Tuning pays in 1 of 4 pairs: at S = 0.5 ERK the 95 % interval of what the best found gains on test lies above "
        "0; in 1, more seeds are needed to tell; in 1, no better setting was found, and the box may hold "
        "some; in 1, no trial is complete. Provisional: 1 trial is waiting or running."
    )


@pytest.mark.parametrize("case", CASES)
def test_concerns_name_what_is_wrong(case: str) -> None:
    frame, provenance = CASES[case]().load()
    found = concerns(frame, analyse(frame, provenance.campaign), provenance.spec)

    assert [c.weight for c in found] == sorted((c.weight for c in found), reverse=True)  # warnings first
    expected = {
        "nothing_stored": "no trials",
        "all_failed": "loss is infinite (2×)",
        "no_reference": "Without a complete reference",
        "not_a_number": "not a number",
        "one_seed": "One seed a trial",
        "unfinished": "Unfinished: 2 waiting and 1 running of 4 trials",
        "mixed_machines": "different torch versions: 2.11.0, 2.13.0",
        "retried": "Computed again after an interruption: 1 epoch",
        "other_circumstances": "1 trial went on from a checkpoint under other circumstances (torch 2.12.0, 2.13.0)",
        "no_test": "2 complete trials without test accuracy",
    }
    assert expected.get(case, "") in " ".join(concern.text for concern in found)


def test_a_healthy_campaign_raises_no_concern() -> None:
    trials = [told(REFERENCE, (0.85,) * 3, (0.84,) * 3), told(OTHER, (0.86,) * 3, (0.85,) * 3)]
    elsewhere = {**ENVIRONMENT, "host": "b", "threads": "8"}
    frame, _ = load(ONE_PAIR, [[*trials, told(THIRD, (0.8,) * 3, (0.8,) * 3, environment=elsewhere)]])

    assert concerns(frame, analyse(frame, ""), ONE_PAIR) == ()


def test_a_pair_in_which_nothing_was_learned_is_told() -> None:
    spec = make_spec(sparsity=(0.9, 0.98), seeds=(0, 1))
    dead, alive = (
        [told(REFERENCE, (low, low), (low, low)), told(OTHER, (best, best), (best, best))]
        for low, best in ((0.10, 0.12), (0.10, 0.50))
    )
    frame, _ = load(spec, [dead, alive])
    told_of = [concern.text for concern in concerns(frame, analyse(frame, ""), spec) if "learned" in concern.text]
    assert told_of == ["Nothing was learned at S = 0.9 ERK: the best setting reached 12.0 %, and guessing has 10 %."]


def test_masks_that_never_changed_are_told_of_methods_that_would_move_them() -> None:
    spec = make_spec(search={"method": ["static", "set", "rigl"]}, sampler="grid")

    def trial(method: str, explored: tuple[float, ...]) -> Told:
        attrs = {"explored": explored, "realised_sparsity": 0.9800004}
        return told({"method": method}, (0.85, 0.86), (0.84, 0.85), attrs=attrs)

    trials = [trial("static", (0.02,)), trial("set", (0.02, 0.02)), trial("rigl", (0.02, 0.03)), trial("rigl", ())]
    frame, _ = load(spec, [trials])
    told_of = [concern.text for concern in concerns(frame, analyse(frame, ""), spec) if "masks" in concern.text]
    assert len(told_of) == 1
    assert told_of[0].startswith("In 1 complete trial of SET the masks never changed")


def test_a_precision_that_trials_do_not_share_is_told_and_how_convolutions_are_computed_is_not() -> None:
    low, full = (
        {**ENVIRONMENT, "precision": "bfloat16"},
        {**ENVIRONMENT, "precision": "float32", "convolutions": "sparse"},
    )
    trials = [
        told(REFERENCE, (0.85,) * 3, (0.84,) * 3, environment=low),
        told(OTHER, (0.86,) * 3, (0.85,) * 3, environment=full),
    ]
    frame, _ = load(ONE_PAIR, [trials])

    told_of = " ".join(concern.text for concern in concerns(frame, analyse(frame, ""), ONE_PAIR))
    assert "Trials ran with different precision: bfloat16, float32." in told_of
    assert "convolutions" not in told_of


def test_wording_of_numbers() -> None:
    assert percent(Estimate(0.8462, 0.0021, 3)) == "84.6 ± 0.2 %"
    assert percent(Estimate(0.8462, 0.0004, 3)) == "84.62 ± 0.04 %"
    assert percent(Estimate(0.8462, math.nan, 1)) == "84.6 %"
    assert percent(Estimate(math.nan, math.nan, 0)) == "–"
    gap = difference({0: 0.8, 1: 0.8}, {0: 0.8, 1: 0.8})
    assert gap is not None
    assert points(gap) == "0.00 ± 0.00 points"
    assert [number(v) for v in (0.1, 100, "rigl", True, 0.07198, 1e-5, 1000.0)] == [
        *("0.1", "100", "rigl", "True", "0.072", "1e-05", "1000"),
    ]
    assert [duration(s) for s in (1.25, 90, 600, 10_000, math.nan)] == ["1.25 s", "90 s", "10.0 min", "2.8 h", "–"]


def test_analysis_does_not_change_the_frame() -> None:
    case: Case = CASES["whole"]()
    frame, _ = case.load()
    before = frame.copy(deep=True)
    analyse(frame, "whole")

    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("case", CASES)
def test_the_plan_names_pairs_as_their_trials_do(case: str) -> None:
    frame, provenance = CASES[case]().load()
    for study, trials in frame.groupby("study", observed=True):
        assert provenance.labels[str(study)] == pair_label(str(study), trials)
