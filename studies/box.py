"""What the search box may still hold that is better than the reference. Pure functions of the trials.

The best of the trials is not the best of the box. Two things are asked before a box is said to hold nothing worth
having. How much of it was seen: a hill reaches as far as `SIGHT`, and what is further from every complete trial is out
of sight. And what the response may reach where it was seen: the largest difference to the reference over many places,
in many responses that explain the trials.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import KDTree

from studies.coordinates import LOG_SPAN, Cube
from studies.gain import Looks, kernels
from studies.search_space import Axis, Choice, Range

Array = NDArray[np.float64]

SIGHT = 0.25
"""So far, in a parameter's range, a trial sees: a hill with a width (standard deviation) of 0.15 still has a quarter of
its height there."""

UNSEEN = 0.05
"""A box of which more is out of sight may hold anything."""

PLACES = 256
"""So many places stand for the box, spread evenly (a Sobol sequence)."""

DRAWS = 64
"""So many degrees of smoothness are weighed."""

KEPT = 16
"""So many of them stand for all, in proportion to how well they explain the trials."""

RESPONSES = 64
"""So many responses are drawn of each."""


@dataclass(frozen=True)
class Box:
    """What is known of settings that were not tried.

    Attributes:
        n_tried: complete trials other than the reference; pruned ones say too little.
        better_share: where none of them beat the reference, so much of the box may still do (95 %), if they were drawn
            at random: 1 - 0.05 ** (1 / n_tried). 0 where they are all settings there are.
        out_of_sight: share of the box that is further than `SIGHT` from every complete trial.
        high: with 97.5 % probability no place in sight gains more; None where too much is out of sight to ask, or the
            best found itself may gain the margin.
    """

    n_tried: int
    better_share: float
    out_of_sight: float
    high: float | None

    def holds_less_than(self, margin: float) -> bool:
        """Whether nothing in the box gains the margin."""
        return self.high is not None and self.high < margin


def better_share(n_tried: int) -> float:
    """Share of the box that may still be better where none of so many random settings were, with 95 % confidence."""
    return 1 - 0.05 ** (1 / n_tried) if n_tried else 1.0


def places_in(search: Mapping[str, Axis | None], columns: Mapping[str, str], trials: pd.DataFrame) -> pd.DataFrame:
    """Settings spread evenly over the box, one a row, in the columns that the frame has.

    Args:
        search: axes by parameter; where one is missing or not known, the values seen must do.
        columns: of the parameters.
        trials: in which values are seen.
    """
    sobol = stats.qmc.Sobol(max(len(columns), 1), scramble=False).random(PLACES)
    places = (sobol + 0.5 / PLACES) % 1.0  # the first is 0 in all of them
    return pd.DataFrame(
        {
            column: pd.Series(_along(search.get(name), trials[column], places[:, i])).astype(trials[column].dtype)
            for i, (name, column) in enumerate(columns.items())
        }
    )


def _along(axis: Axis | None, seen: "pd.Series[Any]", places: Array) -> list[Any]:
    """The values at places in [0, 1) of an axis."""
    known = seen.dropna()
    if axis is None and pd.api.types.is_numeric_dtype(seen) and seen.dtype != "boolean" and known.nunique() > 1:
        low, high = known.min().item(), known.max().item()
        axis = Range.model_construct(low=low, high=high, step=None, log=low > 0 and high >= LOG_SPAN * low)
    values = list(known.unique()) if axis is None else axis.points()
    if values is not None:
        return [values[int(place * len(values))] for place in places] if values else [None] * len(places)
    assert isinstance(axis, Range)
    low, high = (math.log(axis.low), math.log(axis.high)) if axis.log else (axis.low, axis.high)
    found = low * (1 - places) + high * places
    found = np.exp(found) if axis.log else found
    return list(np.rint(found).astype(int)) if axis.is_integer else list(found)


def n_settings(search: Mapping[str, Axis | None], columns: Mapping[str, str]) -> float:
    """How many settings the box has; infinite where an axis is continuous or not known."""
    axes = [search.get(name) for name in columns]
    counts = [
        len(axis.values) if isinstance(axis, Choice) else None if axis is None else len(axis.points() or ()) or None
        for axis in axes
    ]
    return math.inf if None in counts else math.prod(counts)  # type: ignore[arg-type]


def nearest(places: pd.DataFrame, trials: pd.DataFrame, columns: Mapping[str, str]) -> tuple[Array, NDArray[np.intp]]:
    """For each place the distance to the nearest trial, in units of the box, and that trial's row."""
    both = pd.concat([places, trials[list(columns.values())]], ignore_index=True)
    points = Cube.of(both, columns).points(both)
    if not np.isfinite(points).all():
        return np.full(len(places), math.inf), np.zeros(len(places), dtype=np.intp)
    distances, rows = KDTree(points[len(places) :]).query(points[: len(places)])
    return np.asarray(distances, dtype=np.float64), np.asarray(rows, dtype=np.intp)


def most_of(points: Array, accuracies: Array, places: Array, *, reference: int, groups: Sequence[int]) -> float | None:
    """What no place gains over the reference with 97.5 % probability; None where the trials allow no statement.

    Args:
        points: trials by coordinates.
        accuracies: trials by seeds.
        places: places by coordinates.
        reference: row of the reference.
        groups: for each coordinate the parameter it belongs to.
    """
    looks = Looks.of(points, accuracies)
    if looks is None or not len(places):
        return None
    responses = kernels(groups, DRAWS)
    ways = [(kernel, noise) for i, kernel in enumerate(responses) for noise in looks.noises(i)]
    factors = [np.linalg.cholesky(kernel(points) + noise + 1e-8 * np.eye(len(points))) for kernel, noise in ways]
    likelihood = np.array(
        [-(np.linalg.solve(factor, looks.values) ** 2).sum() / 2 - np.log(np.diag(factor)).sum() for factor in factors]
    )
    ends = np.cumsum(np.exp(likelihood - likelihood.max()))
    chosen = np.searchsorted(ends / ends[-1], (np.arange(KEPT) + 0.5) / KEPT)
    rng, found = np.random.default_rng(0), []
    asked = np.vstack([points[[reference]], places])
    for i in chosen:
        kernel = ways[i][0]
        shared = np.linalg.solve(factors[i], kernel(points, asked))
        mean = shared.T @ np.linalg.solve(factors[i], looks.values)
        covariance = kernel(asked) - shared.T @ shared
        apart = covariance[1:, 1:] - covariance[1:, :1] - covariance[:1, 1:] + covariance[0, 0]
        root = np.linalg.cholesky(apart + 1e-8 * np.eye(len(places)))
        wider = np.sqrt(looks.freedom / rng.chisquare(looks.freedom, RESPONSES))
        drawn = mean[1:] - mean[0] + wider[:, None] * (rng.normal(size=(RESPONSES, len(places))) @ root.T)
        found.append(drawn.max(1))
    return looks.scale * float(np.quantile(np.concatenate(found), 0.975))
