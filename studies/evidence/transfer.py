"""What it costs to use one pair's best setting, or the reference, at another pair, and whether pairs rank alike.

Settings are chosen on validation; their cost is read off the target pair's response on test (`studies.response`), so
that neither the target's best nor the foreign setting gains by luck, and a setting the target never trained has a cost
too. The reference's is the gain of the first screen.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from studies.coordinates import Array, Cube
from studies.evidence.finished import MOST_PAIRS, Model, accuracies, finished, models_of
from studies.frame import param_columns
from studies.gain import FAR, paired_gain
from studies.reporting import marks
from studies.reporting.findings import REACH, PairResult, Verdict
from studies.reporting.section import Evidence
from studies.response import KEPT, MOST, fit
from studies.search_space import Params, same_params, same_value
from studies.seed_noise import noise_of_a_seed

REFERENCE = "reference"
FEWEST_SHARED = 5
"""Two pairs that trained so many settings alike are compared by these, others by their responses."""
RESAMPLES = 80
"""Of the settings, for the interval of a rank correlation; there may be 66 couples of pairs."""
PLACES = 40
"""Responses are compared at so many of the settings that were tried."""


@dataclass(frozen=True)
class Cost:
    """What a foreign setting costs at a pair, on test.

    Attributes:
        source: whose best it is: label of a pair, or "reference".
        target: label of the pair it is used at.
        kind: "same" setting as the target's best, the first screen's "gain", "model", or "shared" where the target has
            too few trials for a model but trained the setting; "unknown" otherwise.
        mean: the target's best minus the setting, a fraction; NaN if unknown.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    source: str
    target: str
    kind: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Average:
    """Mean cost over all targets and foreign pairs, with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Likeness:
    """How alike two pairs rank settings by validation accuracy.

    Attributes:
        pairs: their labels.
        kind: "shared" settings, or "model".
        n: settings compared.
        kendall: rank correlation, with the ends of its 95 % interval; spearman likewise.
    """

    pairs: tuple[str, str]
    kind: str
    n: int
    kendall: tuple[float, float, float]
    spearman: tuple[float, float, float]


@dataclass(frozen=True)
class Transfer:
    """Everything about it.

    Attributes:
        labels: of the pairs compared.
        costs: of every source at every target.
        average: of the other pairs' best settings; None where not every cost is known.
        reference: of the reference; likewise.
    """

    labels: tuple[str, ...]
    costs: tuple[Cost, ...]
    average: Average | None
    reference: Average | None
    likeness: tuple[Likeness, ...]


def transfer(evidence: Evidence) -> Transfer | None:
    """Costs and likeness of the first `MOST_PAIRS` pairs that have a best; None for fewer than two."""
    frame = evidence.frame
    pairs = [pair for pair in evidence.analysis.pairs if pair.best is not None][:MOST_PAIRS]
    if len(pairs) < 2:
        return None
    costs: list[Cost] = []
    averages: list[tuple[float, float]] = []
    for target in pairs:
        own, average = _costs(frame, target, pairs)
        costs += own
        averages.append(average)
    references = [_reference_cost(pair) for pair in pairs]
    models = models_of(evidence, pairs)
    return Transfer(
        tuple(pair.label for pair in pairs),
        (*(cost for cost in references if cost is not None), *costs),
        _average(averages),
        _average(
            [(c.mean, (c.high - c.low) / 2 / REACH) if c is not None else (math.nan, math.nan) for c in references]
        ),
        tuple(
            alike
            for one, two in itertools.combinations(pairs, 2)
            if (alike := _likeness(frame, one, two, models)) is not None
        ),
    )


def _average(found: Sequence[tuple[float, float]]) -> Average | None:
    """The mean of independent means, each with its standard deviation."""
    means, stds = np.array(found).T
    if not np.isfinite(means).all() or not np.isfinite(stds).all():
        return None
    mean, reach = float(means.mean()), REACH * float(np.sqrt((stds**2).sum())) / len(means)
    return Average(mean, mean - reach, mean + reach)


def _reference_cost(pair: PairResult) -> Cost | None:
    if pair.reference is None:
        return None
    is_best = pair.best is not None and pair.best.number == pair.reference.number
    if is_best and pair.verdict is not Verdict.ONLY_REFERENCE:
        return Cost(REFERENCE, pair.label, "same", 0.0, 0.0, 0.0)
    if pair.gain is None:
        return Cost(REFERENCE, pair.label, "unknown", math.nan, math.nan, math.nan)
    return Cost(REFERENCE, pair.label, "gain", pair.gain.mean, pair.gain.low, pair.gain.high)


def _costs(
    frame: pd.DataFrame, target: PairResult, pairs: Sequence[PairResult]
) -> tuple[list[Cost], tuple[float, float]]:
    """Every other pair's best at the target, and mean and standard deviation of their average."""
    assert target.best is not None
    own = finished(frame, target.study)
    columns = param_columns(frame)
    foreign = [pair.best for pair in pairs if pair.study != target.study and pair.best is not None]
    labels = [pair.label for pair in pairs if pair.study != target.study]
    is_same = [same_params(best.params, target.best.params) for best in foreign]
    rows, looks = accuracies(own, "test_accuracy")
    if target.best.number not in set(rows["number"]):
        return [Cost(label, target.label, "unknown", *[math.nan] * 3) for label in labels], (math.nan, math.nan)
    trained = [_trained(rows, best.params, columns) for best in foreign]
    rows, looks = _near(rows, looks, {target.best.number, *(n for n in trained if n is not None)})
    asked = pd.DataFrame(
        [{columns[name]: best.params.get(name) for name in columns} for best in (target.best, *foreign)]
    )
    asked = asked.astype({column: own[column].dtype for column in columns.values()})
    every = pd.concat([rows[list(columns.values())], asked], ignore_index=True)
    cube = Cube.of(every, columns)
    points = cube.points(every)
    noise, freedom = noise_of_a_seed(looks) if len(looks) > 1 else (math.nan, 0)
    error = noise / math.sqrt(looks.shape[1]) if freedom and noise > 1e-9 else math.nan
    response = fit(points[: len(rows)], looks.mean(1), error, freedom, cube.groups)
    if response is None:
        return _shared(target, labels, trained, rows, looks)
    places = points[len(rows) :]
    found: list[Cost] = []
    for i, (label, same) in enumerate(zip(labels, is_same, strict=True), start=1):
        if same:
            found.append(Cost(label, target.label, "same", 0.0, 0.0, 0.0))
            continue
        if target.gain and target.reference and same_params(foreign[i - 1].params, target.reference.params):
            found.append(Cost(label, target.label, "gain", target.gain.mean, target.gain.low, target.gain.high))
            continue
        mixture = response.difference(places[[0, i]], np.array([1.0, -1.0]))
        ends = mixture.quantile(0.025), mixture.quantile(0.975)
        found.append(Cost(label, target.label, "model", mixture.mean(), *ends))
    if all(is_same):
        return found, (0.0, 0.0)
    weights = np.array([1.0, *[-1 / len(foreign)] * len(foreign)])
    # The mean of what is told of each: the reference's cost is the first screen's, which another model gave.
    return found, (math.fsum(cost.mean for cost in found) / len(found), response.difference(places, weights).std())


def _near(rows: pd.DataFrame, looks: Array, keep: set[int]) -> tuple[pd.DataFrame, Array]:
    """What is not hopeless, thinned out; hopeless trials say nothing about what lies near the best."""
    is_near = ((rows["value"] >= rows["value"].max() - FAR) | rows["number"].isin(keep)).to_numpy(bool)
    near = rows[is_near]
    thinned = marks.thin(near, MOST, keep=keep)
    return thinned, looks[is_near][near["number"].isin(thinned["number"]).to_numpy(bool)]


def _trained(rows: pd.DataFrame, params: Params, columns: Mapping[str, str]) -> int | None:
    """The number of the first trial with these parameters."""
    is_it = np.ones(len(rows), dtype=bool)
    for name, value in params.items():
        is_it &= np.array([same_value(own, value) for own in rows[columns[name]].tolist()], dtype=bool)
    numbers = rows.loc[is_it, "number"]
    return None if numbers.empty else int(numbers.min())


def _shared(
    target: PairResult, labels: Sequence[str], trained: Sequence[int | None], rows: pd.DataFrame, looks: Array
) -> tuple[list[Cost], tuple[float, float]]:
    """Costs from the trials alone, paired by seed."""
    assert target.best is not None
    at = {int(number): i for i, number in enumerate(rows["number"])}
    found = []
    for label, number in zip(labels, trained, strict=True):
        if number == target.best.number:
            found.append(Cost(label, target.label, "same", 0.0, 0.0, 0.0))
            continue
        gain = None if number is None else paired_gain((looks[at[target.best.number]] - looks[at[number]]).tolist())
        ends = (math.nan,) * 3 if gain is None else (gain.mean, gain.low, gain.high)
        found.append(Cost(label, target.label, "unknown" if gain is None else "shared", *ends))
    means = np.array([cost.mean for cost in found])
    stds = np.array([(cost.high - cost.low) / 2 / REACH for cost in found])
    return found, (float(means.mean()), float(stds.mean()))  # they share the target's best: errors do not average out


def _likeness(
    frame: pd.DataFrame, one: PairResult, two: PairResult, models: Mapping[str, Model | None]
) -> Likeness | None:
    columns = list(param_columns(frame).values())
    tried = [
        finished(frame, pair.study).sort_values("number").drop_duplicates(columns)[[*columns, "value"]]
        for pair in (one, two)
    ]
    shared = tried[0].merge(tried[1], on=columns)
    if len(shared) >= FEWEST_SHARED:
        x, y = shared["value_x"].to_numpy(float), shared["value_y"].to_numpy(float)
        rng = np.random.default_rng(0)
        rows = np.array([np.arange(len(x)), *(rng.integers(len(x), size=len(x)) for _ in range(RESAMPLES))])
        found = _correlations(x[rows], y[rows])
        return _told(one, two, "shared", len(x), found[0], found[1:])
    first, second = models[one.study], models[two.study]
    if first is None or second is None:
        return None
    every = pd.concat([first.trials, second.trials], ignore_index=True)
    places = every.iloc[np.unique(np.linspace(0, len(every) - 1, PLACES).astype(int))]
    draws = [model.response.draw(model.cube.points(places), RESAMPLES // KEPT) for model in (first, second)]
    found = _correlations(*draws)
    return _told(one, two, "model", len(places), np.nanmean(found, axis=0), found)


def _correlations(x: Array, y: Array) -> Array:
    """Kendall's and Spearman's of each row of x with that of y, rows by two; NaN where all of one are the same."""
    found = np.full((len(x), 2), math.nan)
    differs = (np.ptp(x, axis=1) > 0) & (np.ptp(y, axis=1) > 0)
    x, y = x[differs], y[differs]
    found[differs, 0] = [stats.kendalltau(*both, method="asymptotic").statistic for both in zip(x, y, strict=True)]
    ranks = [stats.rankdata(values, axis=1) for values in (x, y)]  # of all rows at once; a rank correlation is of ranks
    x, y = (own - own.mean(1, keepdims=True) for own in ranks)
    found[differs, 1] = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return found


def _told(one: PairResult, two: PairResult, kind: str, n: int, found: Array, spread: Array) -> Likeness | None:
    known = spread[np.isfinite(spread).all(1)]
    if not all(map(math.isfinite, found)) or not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975], axis=0)
    kendall, spearman = ((float(found[i]), float(low[i]), float(high[i])) for i in range(2))
    return Likeness((one.label, two.label), kind, n, kendall, spearman)
