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

from studies.coordinates import coordinates
from studies.frame import STATES, param_columns
from studies.gain import FAR, MOST, Array, Gain, estimate_gain, noise_of_a_seed, paired_gain, typical_reach
from studies.reporting.findings import CONFIDENCE, MARGIN, Analysis, Difference, Estimate, PairResult, Setting, Verdict
from studies.search_space import Params
from studies.spec import pair_in_words

NOT_TUNED = ("method", "sparsity", "distribution", "model", "dataset", "epochs", "train_multiplier")
"""Settings that say what is trained and for how long. Their values are compared; none of them is the tuned one."""


def analyse(
    frame: pd.DataFrame,
    campaign: str,
    margin: float = MARGIN,
    not_tuned: Collection[str] = NOT_TUNED,
    labels: Mapping[str, str] = MappingProxyType({}),
) -> Analysis:
    """Every pair of the frame, in its order.

    Args:
        frame: from `studies.frame`.
        campaign: its name.
        margin: a gain below this (a fraction) is not worth tuning for.
        not_tuned: settings that are compared, and of which none is the best one.
        labels: the pairs in words, by study, of whoever knows the plan; else they are read off the trials.
    """
    complete = frame[frame["state"] == "complete"]
    return Analysis(
        campaign=campaign,
        params=tuple(param_columns(frame)),
        margin=margin,
        pairs=tuple(
            analyse_pair(str(study), trials, margin, not_tuned, labels.get(str(study)))
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
    val = test = gain = None
    if is_tuned and best is not None and reference is not None and best.number != reference.number:
        val = difference(best.val_by_seed, reference.val_by_seed)
        test = difference(best.test_by_seed, reference.test_by_seed)
        gain = _gain(trials, test, best, reference)
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
        margin=margin,
        verdict=_verdict(
            best, reference, test, gain, margin, n_compared=n_compared, searched=bool(columns), is_tuned=is_tuned
        ),
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


def _gain(trials: pd.DataFrame, test: Difference | None, best: Setting, reference: Setting) -> Gain | None:
    """The gain that the pair's whole response supports, or these two alone where too few trials have their seeds."""
    if test is None:
        return None
    complete = trials[(trials["state"] == "complete") & np.isfinite(trials["value"])]
    complete = complete.set_axis(complete["number"].astype(int).to_list())
    told = zip(complete.index, map(_by_seed, complete["seeds"], complete["test_accuracy"]), strict=True)
    accuracies = {
        number: [by_seed[seed] for seed in test.by_seed]
        for number, by_seed in told
        if set(test.by_seed) <= set(by_seed)
    }
    finite = [number for number, values in accuracies.items() if all(map(math.isfinite, values))]
    ranked = complete.loc[finite].sort_values(["value", "number"], ascending=[False, True], kind="stable")
    looks = np.array([accuracies[number] for number in ranked.index])
    near = ranked[ranked["value"] >= ranked["value"].max() - _reach(ranked["value"].to_numpy(float), looks)]
    thinned = near.index[:: math.ceil(len(near) / MOST)]
    chosen = list(dict.fromkeys([best.number, reference.number, *thinned]))
    points, groups = coordinates(complete.loc[chosen], param_columns(trials))
    own = np.array([accuracies[number] for number in chosen])
    return estimate_gain(points, own, best=0, reference=1, groups=groups) or paired_gain(list(test.by_seed.values()))


def _reach(ranked: Array, looks: Array) -> float:
    """How far below the best a trial may be and still say something about what happens near it.

    Args:
        ranked: values of the trials, the best first.
        looks: their accuracies on test, trials by seeds.
    """
    # What seeds do near the best: elsewhere a setting that diverged on one of them would pass for noise everywhere.
    n_best = max(int((ranked >= ranked[0] - FAR).sum()), 3)
    noise, freedom = noise_of_a_seed(looks[:n_best])
    if freedom:
        return max(FAR, 10 * noise)
    reach = FAR  # widened from the best on, as half of a search may be hopeless
    while (wider := typical_reach(ranked[ranked >= ranked[0] - reach])) > reach:
        reach = wider
    return reach


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
        val_by_seed=_by_seed(trial["seeds"], trial["val_accuracy"]),
        test_by_seed=_by_seed(trial["seeds"], trial["test_accuracy"]),
        bits_by_seed=_by_seed(trial["seeds"], trial["bits_per_character"]),
        test_bits_by_seed=_by_seed(trial["seeds"], trial["test_bits_per_character"]),
        runs=(),
        **{key: float(trial[key]) for key in ("inference_flops", "train_flops", "realised_sparsity", "seconds")},
    )


def params_of(trial: "pd.Series[Any]", columns: Mapping[str, str]) -> Params:
    """The searched parameters of one row, as plain Python values; those not set yet are left out."""
    values = {name: trial[column] for name, column in columns.items() if not pd.isna(trial[column])}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}


def _by_seed(seeds: Sequence[int], values: Sequence[float]) -> dict[int, float]:
    # A list of another length cannot be told apart by seed; it counts as not there.
    return dict(zip(seeds, values, strict=True)) if len(seeds) == len(values) else {}


def _reference_state(trials: pd.DataFrame) -> str | None:
    states = set(trials.loc[trials["is_reference"], "state"])
    order = ("complete", "running", "waiting", "pruned", "failed", "retried")
    return next((state for state in order if state in states), None)


def _verdict(
    best: Setting | None,
    reference: Setting | None,
    test: Difference | None,
    gain: Gain | None,
    margin: float,
    *,
    n_compared: int,
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
    if best.number == reference.number:
        return Verdict.REFERENCE_IS_BEST if n_compared > 1 else Verdict.ONLY_REFERENCE
    if test is None:
        return Verdict.NO_TEST
    if gain is None:
        return Verdict.NO_INTERVAL
    if gain.at_most < margin:  # also where a gain is shown, but too small a one
        return Verdict.DOES_NOT_PAY
    return Verdict.PAYS if gain.at_least > 0 else Verdict.UNDECIDED
