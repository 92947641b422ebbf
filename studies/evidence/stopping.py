"""Early stopping: how soon accuracy ranks trials as it does in the end, who would have won unstopped, what was saved.

A trial that was stopped early never showed what it would have reached. The trials of its pair that were trained to the
end tell: the straight line from their accuracy after the epoch at which it was stopped to their final one predicts its
own, with Student's t distribution around it. Nobody knows how that line goes on below them, where most stopped trials
are, so it is not prolonged: such a trial counts as the worst of them, and what it is given is "at most".
"""

import enum
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from studies.analysis import params_of
from studies.coordinates import Array
from studies.frame import param_columns
from studies.reporting.findings import CONFIDENCE
from studies.spec import StudyPlan, StudySpec

FEWEST = 5
"""Fewer trials trained to the end tell neither a rank correlation nor what a stopped one would have reached."""
SETTLED = 0.9
"""From this rank correlation on, accuracy orders the trials nearly as it does in the end."""
LIKELY = 0.5
"""A stopped trial that would have won with more than this chance is called a winner that pruning took away."""
UNLIKELY = 0.05
"""Pruning is cleared where the chances of all stopped trials of a campaign add up to no more than this."""


class Verdict(enum.StrEnum):
    """Whether pruning misled the search."""

    MISLED = "misled"
    "A stopped trial would more likely than not have beaten the best of its pair."
    DID_NOT = "did_not_mislead"
    "All stopped trials together have next to no chance to have beaten the best of their pair."
    MAY_HAVE = "may_have_misled"
    "Neither."
    CANNOT_TELL = "cannot_tell"
    "Of some stopped trials nothing can be said, and none is known to have been a winner."
    NOTHING_STOPPED = "nothing_stopped"
    "No trial was stopped early."


@dataclass(frozen=True)
class Forecast:
    """What a stopped trial would have reached in the end.

    Attributes:
        mean: the expected final accuracy.
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


@dataclass(frozen=True)
class Stopped:
    """A trial that was stopped early.

    Attributes:
        epoch: the last one it was trained for, from 1; 0 if none.
        accuracy: mean validation accuracy over the seeds after it; NaN where not told.
        forecast: None where it cannot be told.
        epochs_saved: by not training it to its end.
        seconds_saved: likewise, at its own pace, or its pair's median where that is not known; NaN where neither is.
    """

    number: int
    epoch: int
    accuracy: float
    forecast: Forecast | None
    epochs_saved: int
    seconds_saved: float


@dataclass(frozen=True)
class PairStopping:
    """Early stopping at one pair.

    Attributes:
        n: trials trained to the end that the rank correlations are over, all of the same length.
        correlation: Spearman's rank correlation of accuracy with the final one, by epoch from 1; NaN where it cannot be
            told. Empty for fewer than `FEWEST` trials.
        best: highest final validation accuracy; NaN before a trial is complete.
        stopped: in the order of their numbers.
        epochs: that all its complete and stopped trials would have been trained for without early stopping.
    """

    study: str
    label: str
    n: int
    correlation: tuple[float, ...]
    best: float
    stopped: tuple[Stopped, ...]
    epochs: int

    @property
    def epochs_saved(self) -> int:
        """By stopping early."""
        return sum(one.epochs_saved for one in self.stopped)

    @property
    def seconds_saved(self) -> float:
        """By stopping early; NaN where the pace is not known."""
        return math.fsum(one.seconds_saved for one in self.stopped)

    @property
    def settled(self) -> int | None:
        """The first epoch from which the rank correlation stays at `SETTLED` or above; None where nothing is known."""
        below = [epoch for epoch, value in enumerate(self.correlation, 1) if not value >= SETTLED]
        first = max(below, default=0) + 1
        return first if first <= len(self.correlation) else None


def stopping(frame: pd.DataFrame, spec: StudySpec, labels: Mapping[str, str]) -> tuple[PairStopping, ...]:
    """Early stopping at every pair, in the order of the specification.

    Args:
        frame: the trials.
        spec: tells how long each was meant to be trained.
        labels: the pairs in words, by study.
    """
    plans = {plan.name: plan for plan in spec.plans()}
    ended = frame[frame["state"].isin(["complete", "pruned"])]
    return tuple(
        _pair(plans[str(study)], labels[str(study)], trials)
        for study, trials in ended.groupby("study", observed=False, sort=True)
    )


def verdict(pairs: Sequence[PairStopping]) -> Verdict:
    """Whether pruning misled. Chances add up to no less than the chance that any of the trials would have won."""
    stopped = [one for pair in pairs for one in pair.stopped]
    forecasts = [one.forecast for one in stopped if one.forecast is not None]
    if not stopped:
        return Verdict.NOTHING_STOPPED
    if any(forecast.would_have_won for forecast in forecasts):
        return Verdict.MISLED
    if len(forecasts) < len(stopped):
        return Verdict.CANNOT_TELL
    return Verdict.DID_NOT if math.fsum(f.chance for f in forecasts) <= UNLIKELY else Verdict.MAY_HAVE


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

    def forecast(self, accuracy: float, best: float) -> Forecast:
        """What a trial would have reached that was stopped at `accuracy`, and its chance to beat `best`."""
        at = min(max(accuracy, self.least), self.most)
        mean = self.height + self.slope * (at - self.middle)
        leverage = (at - self.middle) ** 2 / self.square_sum if self.most > self.least else 0.0
        scale = self.scatter * math.sqrt(1 + 1 / self.n + leverage)
        if scale < 1e-12:  # rounding, of a line without scatter
            reach, chance = 0.0, float(mean > best)
        else:
            reach = scale * _half_width(self.freedom)
            chance = float(stats.t.sf((best - mean) / scale, self.freedom))
        mean, low, high = (min(max(value, 0.0), 1.0) for value in (mean, mean - reach, mean + reach))
        return Forecast(mean, low, high, chance, accuracy < at, self.n)


@functools.cache
def _half_width(freedom: int) -> float:
    """Of the interval of `CONFIDENCE` of Student's t distribution."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


def _pair(plan: StudyPlan, label: str, ended: pd.DataFrame) -> PairStopping:
    complete, pruned = (ended[ended["state"] == state] for state in ("complete", "pruned"))
    planned = dict(zip(ended.index, _planned(plan, ended), strict=True))
    final = complete["value"].to_numpy(dtype=float)
    # Trials of another length had another schedule: after the same epoch they are not as far.
    lengths = [planned[row] for row in complete.index]
    length = max(sorted(set(lengths), reverse=True), key=lengths.count, default=plan.base_config.n_epochs)
    alike = np.array([own == length for own in lengths], dtype=bool)
    by_epoch = _by_epoch(complete["curve"][alike], length)
    n = int(np.isfinite(final[alike]).sum())
    correlation = tuple(rank_correlation(after, final[alike]) for after in by_epoch) if n >= FEWEST else ()
    best = float(final[np.isfinite(final)].max()) if np.isfinite(final).any() else math.nan
    pace = _pace(ended)
    usual = float(pace.median()) if pace.notna().any() else math.nan
    lines: dict[int, Line | None] = {}
    stopped = []
    for row, number, epochs, curve in zip(
        pruned.index, pruned["number"], pruned["epochs"], pruned["curve"], strict=True
    ):
        epoch = 0 if pd.isna(epochs) else int(epochs)
        accuracy = float(curve.get(epoch - 1, math.nan))
        told = None
        if planned[row] == length and 0 < epoch <= length and math.isfinite(accuracy) and math.isfinite(best):
            if epoch not in lines:
                lines[epoch] = Line.fit(by_epoch[epoch - 1], final[alike])
            line = lines[epoch]
            told = line.forecast(accuracy, best) if line else None
        saved = max(0, planned[row] - epoch)
        own = float(pace.loc[row])
        stopped.append(Stopped(int(number), epoch, accuracy, told, saved, saved * (usual if math.isnan(own) else own)))
    return PairStopping(plan.name, label, n, correlation, best, tuple(stopped), sum(planned.values()))


def _planned(plan: StudyPlan, trials: pd.DataFrame) -> Iterator[int]:
    """How many epochs each trial was meant for."""
    lengthening = {"epochs", "train_multiplier"} & set(plan.spec.search)
    if not lengthening:
        return itertools.repeat(plan.base_config.n_epochs, len(trials))
    columns = param_columns(trials)
    return (plan.config(params_of(trial, columns)).n_epochs for _, trial in trials.iterrows())


def _by_epoch(curves: "pd.Series[Any]", n_epochs: int) -> Array:
    """Accuracies of trials after each epoch, (epochs, trials); NaN where not told."""
    told = [[curve.get(epoch, math.nan) for epoch in range(n_epochs)] for curve in curves]
    return np.array(told, dtype=float).reshape(len(told), n_epochs).T


def _pace(ended: pd.DataFrame) -> "pd.Series[float]":
    """Seconds of an epoch of each trial; NaN where not known."""
    known = ended[(ended["seconds"] > 0) & (ended["epochs"].fillna(0) > 0)]
    pace: pd.Series[float] = known["seconds"] / known["epochs"].astype("float64")
    return pace.reindex(ended.index)
