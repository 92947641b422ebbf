"""What a trial that was stopped early would have reached, told by those that were trained to the end."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from studies.coordinates import Array
from studies.reporting.findings import CONFIDENCE

FEWEST = 5
"""Fewer trials trained to the end tell neither a rank correlation nor what a stopped one would have reached."""
LIKELY = 0.5
"""A stopped trial that would have won with more than this chance is called a winner that pruning took away."""


@dataclass(frozen=True)
class Forecast:
    """What a stopped trial would have reached in the end.

    Attributes:
        mean: the expected final accuracy, or value.
        low: lower end of its 95 % prediction interval (`CONFIDENCE`); `high` is the upper one.
        chance: that it would have beaten the best of its pair.
        at_most: whether it was below all that were trained on, so that all of these are upper bounds.
        n: unstopped trials that this rests on.
    """

    mean: float
    low: float
    high: float
    chance: float
    at_most: bool
    n: int

    @property
    def would_have_won(self) -> bool:
        """Whether that is more likely than not; an upper bound does not say so."""
        return self.chance > LIKELY and not self.at_most


def rank_correlation(accuracy: Array, final: Array) -> float:
    """Spearman's correlation over the trials whose both are known; NaN for fewer than `FEWEST`, or if all are equal."""
    known = np.isfinite(accuracy) & np.isfinite(final)
    one, other = accuracy[known], final[known]
    if len(one) < FEWEST or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(stats.spearmanr(one, other).statistic)


@dataclass(frozen=True)
class Line:
    """A simple linear regression of final accuracies on those after an epoch.

    Attributes:
        least: accuracy of the worst trial after that epoch; `most` that of the best one.
        middle: mean accuracy after that epoch, and what the line is pinned to: `height` is the mean final accuracy.
        slope: of the line.
        square_sum: of the accuracies' distances from `middle`.
        scatter: standard deviation of the final accuracies around the line, on `freedom` degrees of freedom.
        n: number of trials.
    """

    least: float
    most: float
    middle: float
    height: float
    slope: float
    square_sum: float
    scatter: float
    freedom: int
    n: int

    @classmethod
    def fit(cls, accuracy: Array, final: Array) -> "Line | None":
        """The line through the trials whose both accuracies are known; None for fewer than `FEWEST`."""
        known = np.isfinite(accuracy) & np.isfinite(final)
        x, y = accuracy[known], final[known]
        if len(x) < FEWEST:
            return None
        least, most = float(x.min()), float(x.max())
        slope = float(stats.linregress(x, y).slope) if most > least else 0.0  # all alike: the mean is all that is known
        freedom = len(x) - (2 if most > least else 1)
        residuals = y - y.mean() - slope * (x - x.mean())
        scatter = math.sqrt(float((residuals**2).sum()) / freedom)
        square_sum = float(((x - x.mean()) ** 2).sum())
        return cls(least, most, float(x.mean()), float(y.mean()), slope, square_sum, scatter, freedom, len(x))

    def forecast(self, accuracy: float, best: float, within: tuple[float, float] = (0.0, 1.0)) -> Forecast:
        """What a trial would have reached that was stopped at `accuracy`, and its chance to beat `best`.

        Values lie between the two ends `within`.
        """
        at = min(max(accuracy, self.least), self.most)
        mean = self.height + self.slope * (at - self.middle)
        leverage = (at - self.middle) ** 2 / self.square_sum if self.most > self.least else 0.0
        scale = self.scatter * math.sqrt(1 + 1 / self.n + leverage)
        if scale <= 1e-12 * abs(self.height):  # rounding, of a line without scatter
            reach, chance = 0.0, float(mean > best)
        else:
            reach = scale * _half_width(self.freedom)
            chance = float(stats.t.sf((best - mean) / scale, self.freedom))
        mean, low, high = (min(max(value, within[0]), within[1]) for value in (mean, mean - reach, mean + reach))
        return Forecast(mean, low, high, chance, accuracy < at, self.n)


@functools.cache
def _half_width(freedom: int) -> float:
    """Of the interval of `CONFIDENCE` of Student's t distribution."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
