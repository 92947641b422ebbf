"""How what trials are compared by changes with each searched parameter.

Numbers only, from the pair's model of the response (`studies.response`); with too few trials for one, means of bins.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import block_diag

from studies.analysis import params_of
from studies.coordinates import Array, Side
from studies.evidence.finished import Model, finished, varied
from studies.evidence.surfaces import is_rate
from studies.frame import param_columns
from studies.reporting.findings import REACH, PairResult
from studies.search_space import Params

STEPS = 21
"""A curve has so many points."""
OTHERS = 24
"""It is averaged over the other parameters as so many of the trials had them."""
BRANCHES = 12
"""A number of which more values were tried is not taken to decide which other parameters there are."""
BINS = 3
"""With few trials the values of a number form so many bins."""
FEWEST_BINNED = 4


@dataclass(frozen=True)
class Curve:
    """What one parameter does to validation accuracy, or to another measure, the others averaged over.

    Attributes:
        param: its name.
        kind: "model" or "bins".
        values: where; of a category the index among `choices`.
        choices: of a category, as texts.
        effect: value there minus the average over `values`; more is better.
        low: lower end of its 95 % interval; NaN where a bin has one trial.
        high: upper end.
        at: of each trial looked at that has the parameter the value it had.
    """

    param: str
    kind: str
    values: tuple[float, ...]
    choices: tuple[str, ...] | None
    effect: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    at: tuple[float, ...]

    @property
    def top(self) -> int:
        """Where it is highest."""
        return int(np.argmax(self.effect))

    @property
    def span(self) -> float:
        """How much the parameter changes."""
        return max(self.effect) - min(self.effect)

    @property
    def is_told(self) -> bool:
        """Whether its highest point is above its lowest by more than their uncertainties."""
        low, high = self.low[self.top], self.high[int(np.argmin(self.effect))]
        return math.isfinite(low) and math.isfinite(high) and low > high

    @property
    def best_value(self) -> float | str:
        """The value of the highest point."""
        return self.values[self.top] if self.choices is None else self.choices[self.top]


def spans(curves: Iterable[Curve]) -> dict[str, float]:
    """How much each parameter changes at most, by its name."""
    found: dict[str, float] = {}
    for curve in curves:
        found[curve.param] = max(curve.span, found.get(curve.param, 0.0))
    return found


def curves_of_pair(frame: pd.DataFrame, pair: PairResult, model: Model | None) -> tuple[Curve, ...]:
    """The curve of every parameter that was varied; none for fewer than `FEWEST_BINNED` trials."""
    if model is not None:
        return tuple(_modelled(model, index) for index in range(len(model.cube.sides)))
    own = finished(frame, pair.study)
    if len(own) < FEWEST_BINNED:
        return ()
    having = {name: own[own[column].notna()] for name, column in varied(own).items()}
    return tuple(
        _binned(name, trials[param_columns(own)[name]], trials["value"].to_numpy(float))
        for name, trials in having.items()
        if len(trials) >= FEWEST_BINNED
    )


def _modelled(model: Model, index: int) -> Curve:
    side, points = model.cube.sides[index], model.points
    places, coordinates = model.cube.along(index, STEPS)
    beside = [own[_spread(len(own))] for own in _beside(model, index, places)]
    asked = points[np.concatenate(beside)]
    asked[:, model.cube.slot(index)] = np.repeat(coordinates, list(map(len, beside)), axis=0)
    averages = block_diag(*(np.full((1, len(own)), 1 / len(own)) for own in beside))
    means, stds = model.response.contrasts(asked, averages - averages.mean(0))
    effect, std = means.mean(0), np.sqrt((stds**2).mean(0) + means.var(0))
    codes = _codes(model.trials[side.column].dropna(), side)
    return Curve(
        side.name,
        "model",
        tuple(side.value(place) if side.choices is None else place for place in places),
        side.choices,
        *_ends(effect, REACH * std),
        tuple(codes.tolist()),
    )


def _spread(n: int) -> NDArray[np.int64]:
    """`OTHERS` of `n` indices, evenly spread; all where there are no more."""
    return np.linspace(0, n - 1, min(n, OTHERS)).astype(int)


def _beside(model: Model, index: int, places: Sequence[float]) -> list[NDArray[np.int64]]:
    """For each place along a parameter the trials (by position) whose other parameters go with it.

    In other programs' studies a parameter may decide which others there are. At each of its values these are averaged
    over as the trials had them that had this value, or the tried one next to it.
    """
    side = model.cube.sides[index]
    at = model.trials[side.column]
    has_it = at.notna().to_numpy()
    lacking = model.trials[[other.column for other in model.cube.sides]].isna().to_numpy()
    codes = np.full(len(at), math.nan)
    codes[has_it] = _codes(at[has_it], side)
    tried = np.unique(codes[has_it])
    alike = [np.flatnonzero(has_it)] * len(places)
    if not lacking[has_it].any() or (side.choices is None and len(tried) > BRANCHES):
        return alike
    kinds = np.unique(lacking, axis=0, return_inverse=True)[1].ravel()
    nearest = [tried[np.abs(tried - side.value(place)).argmin()] for place in places]
    return [np.flatnonzero(has_it & np.isin(kinds, kinds[codes == value])) for value in nearest]


def _ends(effect: Array, reach: Array) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    return tuple(effect.tolist()), tuple((effect - reach).tolist()), tuple((effect + reach).tolist())


def _codes(values: pd.Series, side: Side) -> Array:
    if side.choices is None:
        return values.to_numpy(float)
    return np.array([side.choices.index(text) for text in values.astype(str)], dtype=np.float64)


def _binned(name: str, values: pd.Series, reached: Array) -> Curve:
    side = Side.of(name, name, values)
    codes = _codes(values, side)
    distinct = np.unique(codes)
    bin_of = np.searchsorted(distinct, codes)
    if side.choices is None and len(distinct) > BINS:
        bin_of = np.minimum(np.argsort(np.argsort(codes, kind="stable"), kind="stable") * BINS // len(codes), BINS - 1)
    bins = [reached[bin_of == i] for i in range(int(bin_of.max()) + 1)]
    means = np.array([own.mean() for own in bins])
    reach = np.array(
        [
            stats.t.ppf(0.975, len(own) - 1) * own.std(ddof=1) / math.sqrt(len(own)) if len(own) > 1 else math.nan
            for own in bins
        ]
    )
    effect = means - means.mean()
    return Curve(
        name,
        "bins",
        tuple(float(np.median(codes[bin_of == i])) for i in range(len(bins))),
        side.choices,
        *_ends(effect, reach),
        tuple(codes.tolist()),
    )


@dataclass(frozen=True)
class Line:
    """Values of one setting of the other parameters over the learning rate.

    Attributes:
        others: what stayed the same.
        lr: learning rates; mean and std, over seeds, of the value at each.
    """

    others: Params
    lr: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def lines_of_pair(frame: pd.DataFrame, pair: PairResult) -> tuple[Line, ...]:
    """Settings that were trained at three learning rates or more, as a grid does; the ones with most rates first."""
    own = finished(frame, pair.study)
    columns = param_columns(own)
    if not is_rate(own, columns) or len(columns) < 2:
        return ()
    others = {name: column for name, column in columns.items() if name != "lr"}
    found = []
    together = own.groupby(list(others.values()), observed=True)[columns["lr"]].transform("size")
    # Where settings were drawn, nearly each is a group by itself: thousands of groups to look at for nothing.
    for _, rows in own[together >= 3].groupby(list(others.values()), sort=True, observed=True):
        by_rate = rows.sort_values([columns["lr"], "number"], kind="stable").drop_duplicates(columns["lr"])
        if len(by_rate) >= 3:
            found.append(_line(by_rate, columns["lr"], others))
    return tuple(sorted(found, key=lambda line: -len(line.lr)))


def _line(rows: pd.DataFrame, lr: str, others: Mapping[str, str]) -> Line:
    stds = [float(np.std(values, ddof=1)) if len(values) > 1 else math.nan for values in rows["val_accuracy"]]
    return Line(
        params_of(rows.iloc[0], others),
        tuple(float(rate) for rate in rows[lr]),
        tuple(float(value) for value in rows["value"]),
        tuple(stds),
    )
