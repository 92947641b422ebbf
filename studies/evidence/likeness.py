"""How alike two pairs rank settings.

Noise in single trials makes two pairs look less alike than they are, and so does not knowing their responses well. What
is told is the rank correlation of the true responses over the settings compared. The correlation that is seen is
divided by how well the ranks of each pair agree with themselves, had they been found twice (correction for attenuation:
Spearman, American Journal of Psychology 1904), on the scale of the correlation of a normal distribution.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from studies.coordinates import Array
from studies.evidence.finished import Model, accuracies, finished
from studies.frame import param_columns
from studies.reporting import marks
from studies.reporting.findings import PairResult
from studies.response import KEPT
from studies.seed_noise import noise_of_a_seed

FEWEST_SHARED = 5
"""Two pairs that trained so many settings alike are compared by these, others by their responses."""
RESAMPLES = 80
"""Of the settings, for the interval of a rank correlation; there may be 66 couples of pairs."""
PLACES = 40
"""Responses are compared at so many of the settings that were tried."""
LEAST = 0.3
"""Where ranks agree less with themselves, they are mostly noise, and nothing is said."""


@dataclass(frozen=True)
class Likeness:
    """How alike two pairs rank settings by the validation accuracy behind their trials.

    Attributes:
        pairs: their labels.
        kind: "shared" settings, or "model"; "seen" where the noise is not known and lowers the correlation.
        n: settings compared.
        kendall: rank correlation, with the ends of its 95 % interval; spearman likewise.
    """

    pairs: tuple[str, str]
    kind: str
    n: int
    kendall: tuple[float, float, float]
    spearman: tuple[float, float, float]


def likeness(
    frame: pd.DataFrame, one: PairResult, two: PairResult, models: Mapping[str, Model | None]
) -> Likeness | None:
    """Of two pairs; None where they have too little in common, or their ranks are mostly noise."""
    columns = list(param_columns(frame).values())
    tried = [_tried(frame, pair.study, columns) for pair in (one, two)]
    shared = tried[0].merge(tried[1], on=columns)
    rng = np.random.default_rng(0)
    if len(shared) >= FEWEST_SHARED:
        rows = np.array([np.arange(len(shared)), *rng.integers(len(shared), size=(RESAMPLES, len(shared)))])
        looks = [shared[f"value_{side}"].to_numpy(float) for side in "xy"]
        noises = [float(shared[f"noise_{side}"].iloc[0]) for side in "xy"]
        seen = _correlations(*(values[rows] for values in looks))
        if any(map(math.isnan, noises)):
            return _told(one, two, "seen", len(shared), seen[0], seen[1:])
        twice = [_agreement(values, noise, rng) for values, noise in zip(looks, noises, strict=True)]
        found = _corrected(seen, np.sqrt(twice[0] * twice[1]))
        return _told(one, two, "shared", len(shared), found[0], found[1:])
    first, second = models[one.study], models[two.study]
    if first is None or second is None:
        return None
    every = pd.concat([first.trials, second.trials], ignore_index=True)
    places = every.iloc[np.unique(np.linspace(0, len(every) - 1, PLACES).astype(int))]
    draws = [model.response.draw(model.cube.points(places), RESAMPLES // KEPT) for model in (first, second)]
    # A draw strays from the truth as far as the mean of the draws does, so it loses twice.
    twice = [_normal(_mean(_correlations(own, np.roll(own, 1 + len(own) // 2, axis=0)))) for own in draws]
    found = _corrected(_correlations(*draws), twice[0] * twice[1])
    return _told(one, two, "model", len(places), _mean(found), found)


def _tried(frame: pd.DataFrame, study: str, columns: list[str]) -> pd.DataFrame:
    """The settings of a pair, what each reached, and how noisy that is (a standard deviation; NaN if not known)."""
    own = finished(frame, study).sort_values("number").drop_duplicates(columns)
    floor = marks.floor_of(own["value"], own["value"])
    rows, by_seed = accuracies(own[own["value"] >= floor], "val_accuracy")
    noise, freedom = noise_of_a_seed(by_seed) if len(rows) > 1 else (math.nan, 0)
    error = noise / math.sqrt(by_seed.shape[1]) if freedom else math.nan
    return own[columns].assign(value=own["value"].clip(lower=floor), noise=error)


def _agreement(looks: Array, noise: float, rng: np.random.Generator) -> Array:
    """How well the ranks of a pair agree with themselves if they are found twice, on the normal scale."""
    seen = float(looks.var())
    shrunk = math.sqrt(max(seen - noise**2, 0) / seen) if seen else 0.0
    true = looks.mean() + shrunk * (looks - looks.mean())
    both = [true + noise * rng.normal(size=(RESAMPLES, len(looks))) for _ in range(2)]
    return _normal(_mean(_correlations(*both)))


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


def _mean(correlations: Array) -> Array:
    """The mean of those that are known, NaN if none is."""
    known = correlations[np.isfinite(correlations).all(1)]
    return np.asarray(known.mean(0)) if len(known) else np.full(2, math.nan)


def _normal(found: Array) -> Array:
    """The correlations of normal distributions that have these Kendall's and Spearman's (last axis)."""
    return np.stack([np.sin(np.pi / 2 * found[..., 0]), 2 * np.sin(np.pi / 6 * found[..., 1])], axis=-1)


def _corrected(found: Array, agreement: Array) -> Array:
    """Kendall's and Spearman's without what noise takes; NaN where the ranks are mostly noise."""
    if not (agreement >= LEAST).all():
        return np.full_like(found, math.nan)
    normal = np.clip(_normal(found) / agreement, -1, 1)
    return np.stack([2 / np.pi * np.arcsin(normal[..., 0]), 6 / np.pi * np.arcsin(normal[..., 1] / 2)], axis=-1)


def _told(one: PairResult, two: PairResult, kind: str, n: int, found: Array, spread: Array) -> Likeness | None:
    known = spread[np.isfinite(spread).all(1)]
    if not all(map(math.isfinite, found)) or not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975], axis=0)
    kendall, spearman = ((float(found[i]), float(low[i]), float(high[i])) for i in range(2))
    return Likeness((one.label, two.label), kind, n, kendall, spearman)
