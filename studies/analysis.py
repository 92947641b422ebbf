"""What the trials say: for each pair the reference, the best, and how far apart they are. Pure functions of the frame.

The order of reading is part of the method: `select_best` first throws the test column away and chooses on validation
accuracy; only then is test accuracy looked up. The best of n is better partly by luck, on test too, so what counts is
the gain that `studies.gain` leaves of it.

Tuning is a choice among settings of one and the same thing. A dense network is no well-tuned sparse one, nor is less
sparsity a better learning rate: where a search varies what is trained, too (`NOT_TUNED`), only trials that train what
the reference trains are candidates.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from studies.box import Box
from studies.frame import STATES, param_columns
from studies.gain import Gain
from studies.pair_gain import box_of, by_seed, gain_of
from studies.reporting.findings import CONFIDENCE, MARGIN, Analysis, Difference, Estimate, PairResult, Setting, Verdict
from studies.search_space import Axis, Params
from studies.spec import pair_in_words

NOT_TUNED = ("method", "sparsity", "distribution", "model", "dataset", "epochs", "train_multiplier")
"""Settings that say what is trained and for how long. Their values are compared; none of them is the tuned one."""


def analyse(
    frame: pd.DataFrame,
    campaign: str,
    margin: float = MARGIN,
    not_tuned: Collection[str] = NOT_TUNED,
    labels: Mapping[str, str] = MappingProxyType({}),
    search: Mapping[str, Axis | None] = MappingProxyType({}),
) -> Analysis:
    """Every pair of the frame, in its order.

    Args:
        frame: from `studies.frame`.
        campaign: its name.
        margin: a gain below this (a fraction) is not worth tuning for.
        not_tuned: settings that are compared, and of which none is the best one.
        labels: the pairs in words, by study, of whoever knows the plan; else they are read off the trials.
        search: the axes of the search box; where one is not known, the values that were tried stand for it.
    """
    complete = frame[frame["state"] == "complete"]
    return Analysis(
        campaign=campaign,
        params=tuple(param_columns(frame)),
        margin=margin,
        pairs=tuple(
            analyse_pair(str(study), trials, margin, not_tuned, labels.get(str(study)), search)
            for study, trials in frame.groupby("study", observed=False, sort=True)
        ),
        n_seeds=min((len(seeds) for seeds in complete["seeds"]), default=None),
        compared=tuple(name for name in param_columns(frame) if name in not_tuned),
    )


def analyse_pair(
    study: str,
    trials: pd.DataFrame,
    margin: float = MARGIN,
    not_tuned: Collection[str] = NOT_TUNED,
    label: str | None = None,
    search: Mapping[str, Axis | None] = MappingProxyType({}),
) -> PairResult:
    """One study's trials: choose on validation, then compare on test."""
    columns = param_columns(trials)
    is_tuned = not columns.keys() <= set(not_tuned)
    every = trials
    trials = _candidates(trials, [column for name, column in columns.items() if name in not_tuned], is_tuned=is_tuned)
    reference_row = find_reference(trials)
    best_row = select_best(trials)
    if best_row is not None and trials.loc[best_row, "is_reference"]:
        best_row = reference_row  # also where a sampler drew the reference again: its luckier repeat is no discovery
    reference = None if reference_row is None else setting_of(trials, reference_row)
    best = None if best_row is None else setting_of(trials, best_row)
    val = test = gain = box = None
    if is_tuned and best is not None and reference is not None:
        if best.number != reference.number:
            val = difference(best.val_by_seed, reference.val_by_seed)
            test = difference(best.test_by_seed, reference.test_by_seed)
            gain = None if test is None else gain_of(trials, test.by_seed, best, reference)
        tuned = {name: column for name, column in columns.items() if name not in not_tuned}
        box = box_of(trials, tuned, search, best, reference, gain, margin)
    counts = {state: int((every["state"] == state).sum()) for state in STATES}
    n_compared = int(trials["state"].isin(("complete", "pruned")).sum())
    return PairResult(
        study=study,
        label=label or pair_label(study, every),
        counts=counts,
        reference=reference,
        reference_state=_reference_state(trials),
        best=best,
        n_compared=n_compared,
        val_difference=val,
        test_difference=test,
        gain=gain,
        box=box,
        margin=margin,
        verdict=_verdict(best, reference, test, gain, box, margin, searched=bool(columns), is_tuned=is_tuned),
    )


def _candidates(trials: pd.DataFrame, columns: Sequence[str], *, is_tuned: bool) -> pd.DataFrame:
    """The trials that the best is chosen from.

    Args:
        trials: of a study.
        columns: of the searched parameters that are not tuned.
        is_tuned: whether others were searched.
    """
    if not columns:
        return trials
    if not is_tuned:
        sparse = trials[trials["method"].ne("dense").fillna(True) | trials["is_reference"]]
        return trials if select_best(sparse) is None else sparse
    reference = trials[trials["is_reference"]]
    if reference.empty:
        return trials
    alike = (trials[list(columns)] == reference.iloc[0][list(columns)]).all(axis=1)
    return trials[alike]


def select_best(trials: pd.DataFrame) -> int | None:
    """The row (index label) of the best complete trial by validation accuracy.

    A tie goes to the reference, then to the earlier trial: tuning gets no credit for equalling it. Trials without a
    finite value are left out.
    """
    without_test = trials.drop(
        columns=["test_accuracy", "test_bits_per_character"]
    )  # selection cannot look at what it does not have
    candidates = without_test[(without_test["state"] == "complete") & np.isfinite(without_test["value"])]
    if candidates.empty:
        return None
    ranked = candidates.sort_values(["value", "is_reference", "number"], ascending=[False, False, True], kind="stable")
    return int(ranked.index[0])


def find_reference(trials: pd.DataFrame) -> int | None:
    """The row (index label) of the complete reference; the earliest if its parameters were trained more than once."""
    rows = trials[trials["is_reference"] & (trials["state"] == "complete") & np.isfinite(trials["value"])]
    return None if rows.empty else int(rows["number"].idxmin())


def difference(best: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """Best minus reference over the seeds both have; None if there are none or an accuracy is NaN."""
    by_seed = {seed: best[seed] - reference[seed] for seed in best if seed in reference}
    values = list(by_seed.values())
    if not values or not all(map(math.isfinite, values)):
        return None
    estimate = Estimate.of(values)
    standard_error = estimate.std / math.sqrt(estimate.n)
    low = high = None
    # Accuracies are multiples of 1/images: differences beyond that grain are rounding of the subtraction, not spread.
    if estimate.n > 1 and estimate.std > 1e-12:
        ends = stats.t.interval(CONFIDENCE, estimate.n - 1, loc=estimate.mean, scale=standard_error)
        low, high = float(ends[0]), float(ends[1])
    return Difference(by_seed, estimate.mean, estimate.std, standard_error, low, high)


def pair_label(study: str, trials: pd.DataFrame) -> str:
    """The pair in words; without a trial to read it from, the part of the study's name behind the campaign's."""
    if trials.empty:
        return study.rpartition("/")[2]
    searched, first = param_columns(trials), trials.iloc[0]
    return pair_in_words(
        None if "sparsity" in searched else first["sparsity"],
        None if "distribution" in searched else first["distribution"],
        None if pd.isna(first["masks"]) else first["masks"],
    )


def setting_of(trials: pd.DataFrame, row: int) -> Setting:
    """One complete trial, by its index label."""
    trial = trials.loc[[row]].iloc[0]
    return Setting(
        number=int(trial["number"]),
        params=params_of(trial, param_columns(trials)),
        val_by_seed=by_seed(trial["seeds"], trial["val_accuracy"]),
        test_by_seed=by_seed(trial["seeds"], trial["test_accuracy"]),
        bits_by_seed=by_seed(trial["seeds"], trial["bits_per_character"]),
        test_bits_by_seed=by_seed(trial["seeds"], trial["test_bits_per_character"]),
        runs=(),
        **{key: float(trial[key]) for key in ("inference_flops", "train_flops", "realised_sparsity", "seconds")},
    )


def params_of(trial: "pd.Series[Any]", columns: Mapping[str, str]) -> Params:
    """The searched parameters of one row, as plain Python values; those not set yet are left out."""
    values = {name: trial[column] for name, column in columns.items() if not pd.isna(trial[column])}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}


def _reference_state(trials: pd.DataFrame) -> str | None:
    states = set(trials.loc[trials["is_reference"], "state"])
    order = ("complete", "running", "waiting", "pruned", "failed", "retried")
    return next((state for state in order if state in states), None)


def _verdict(
    best: Setting | None,
    reference: Setting | None,
    test: Difference | None,
    gain: Gain | None,
    box: Box | None,
    margin: float,
    *,
    searched: bool,
    is_tuned: bool,
) -> Verdict:
    if best is None:
        return Verdict.NOTHING_COMPLETE
    if not searched:
        return Verdict.NOT_SEARCHED
    if not is_tuned:
        return Verdict.NOT_TUNED
    if reference is None:
        return Verdict.NO_REFERENCE
    if best.number != reference.number and test is None:
        return Verdict.NO_TEST
    return verdict_of(gain, box, margin, is_reference=best.number == reference.number)


def verdict_of(gain: Gain | None, box: Box | None, margin: float, *, is_reference: bool) -> Verdict:
    """What is said of a best and a reference that can be compared.

    Args:
        gain: of the best over the reference.
        box: what is known of settings that were not tried.
        margin: a gain below this is not worth tuning for.
        is_reference: whether the best is the reference itself.
    """
    if is_reference and (box is None or not box.n_tried):
        return Verdict.ONLY_REFERENCE
    if box is not None and box.holds_less_than(margin):
        return Verdict.DOES_NOT_PAY
    if is_reference:
        return Verdict.REFERENCE_IS_BEST
    if gain is None:
        return Verdict.NO_INTERVAL
    if gain.high < margin:  # also where a gain is shown, but too small a one
        return Verdict.NOTHING_FOUND
    return Verdict.PAYS if gain.low > 0 else Verdict.UNDECIDED
