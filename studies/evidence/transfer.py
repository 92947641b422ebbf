"""What it costs to use one pair's best setting, or the reference, at another pair, and whether pairs rank alike.

Settings are chosen on validation; their cost is read off the target pair's response on test (`studies.response`), so
that neither the target's best nor the foreign setting gains by luck, and a setting the target never trained has a cost
too. Trials that are far below the best tell of settings that cost much, so all count; hopeless ones, compared with how
much the others differ (`marks.floor_of`), count as the floor, since a cliff would look like noise elsewhere. Of a
setting that may lie down there only the least that it costs is told. The reference's cost is the gain of the first
screen.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from studies.coordinates import Array, Cube
from studies.evidence.finished import MOST_PAIRS, accuracies, finished, models_of
from studies.evidence.likeness import Likeness, likeness
from studies.frame import param_columns
from studies.gain import paired_gain
from studies.reporting import marks
from studies.reporting.findings import REACH, PairResult, Verdict
from studies.reporting.section import Evidence
from studies.response import MOST, fit
from studies.search_space import Params, same_params, same_value
from studies.seed_noise import noise_of_a_seed

REFERENCE = "reference"


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
        high: upper end; infinite where the setting may be among the target's hopeless ones.
    """

    source: str
    target: str
    kind: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Average:
    """Mean cost over all targets and foreign pairs, with its 95 % interval; `high` is infinite where a cost's is."""

    mean: float
    low: float
    high: float


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
        _average(averages, is_bounded=not any(math.isinf(cost.high) for cost in costs)),
        _average(
            [(c.mean, (c.high - c.low) / 2 / REACH) if c is not None else (math.nan, math.nan) for c in references]
        ),
        tuple(
            alike
            for one, two in itertools.combinations(pairs, 2)
            if (alike := likeness(frame, one, two, models)) is not None
        ),
    )


def _average(found: Sequence[tuple[float, float]], *, is_bounded: bool = True) -> Average | None:
    """The mean of independent means, each with its standard deviation; all of them known, or some only at least."""
    means, stds = np.array(found).T
    if not np.isfinite(means).all() or not np.isfinite(stds).all():
        return None
    mean, reach = float(means.mean()), REACH * float(np.sqrt((stds**2).sum())) / len(means)
    return Average(mean, mean - reach, mean + reach if is_bounded else math.inf)


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
    thinned = marks.thin(rows, MOST, keep={target.best.number, *(n for n in trained if n is not None)})
    looks = looks[rows["number"].isin(thinned["number"]).to_numpy(bool)]
    rows = thinned
    asked = pd.DataFrame(
        [{columns[name]: best.params.get(name) for name in columns} for best in (target.best, *foreign)]
    )
    asked = asked.astype({column: own[column].dtype for column in columns.values()})
    every = pd.concat([rows[list(columns.values())], asked], ignore_index=True)
    cube = Cube.of(every, columns)
    points = cube.points(every)
    reached = looks.mean(1)
    floor = marks.floor_of(pd.Series(reached), pd.Series(reached))
    near = looks[reached >= floor]
    noise, freedom = noise_of_a_seed(near) if len(near) > 1 else (math.nan, 0)
    error = noise / math.sqrt(looks.shape[1]) if freedom and noise > 1e-9 else math.nan
    response = fit(points[: len(rows)], np.maximum(reached, floor), error, freedom, cube.groups)
    if response is None:
        return _shared(target, labels, trained, rows, looks)
    places = points[len(rows) :]
    # Where trials count as the floor, the setting may lie anywhere below it.
    deepest = float(response.at(places[:1])[0][0]) - floor if (reached < floor).any() else math.inf
    found: list[Cost] = []
    for i, (label, same) in enumerate(zip(labels, is_same, strict=True), start=1):
        if same:
            found.append(Cost(label, target.label, "same", 0.0, 0.0, 0.0))
            continue
        if target.gain and target.reference and same_params(foreign[i - 1].params, target.reference.params):
            found.append(Cost(label, target.label, "gain", target.gain.mean, target.gain.low, target.gain.high))
            continue
        mixture = response.difference(places[[0, i]], np.array([1.0, -1.0]))
        low, high = mixture.quantile(0.025), mixture.quantile(0.975)
        found.append(Cost(label, target.label, "model", mixture.mean(), low, math.inf if high > deepest else high))
    if all(is_same):
        return found, (0.0, 0.0)
    weights = np.array([1.0, *[-1 / len(foreign)] * len(foreign)])
    # The mean of what is told of each: the reference's cost is the first screen's, which another model gave.
    return found, (math.fsum(cost.mean for cost in found) / len(found), response.difference(places, weights).std())


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
