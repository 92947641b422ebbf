"""Early stopping: how soon accuracy ranks trials as it does in the end, who would have won unstopped, what was saved.

A trial that was stopped early never showed what it would have reached. The trials of its pair that were trained to the
end tell: the straight line from their accuracy after the epoch at which it was stopped to their final one predicts its
own, with Student's t distribution around it. Nobody knows how that line goes on below them, where most stopped trials
are, so it is not prolonged: such a trial counts as the worst of them, and what it is given is "at most".
"""

import dataclasses
import enum
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from studies.analysis import params_of
from studies.coordinates import Array
from studies.evidence.forecast import FEWEST, Forecast, Line, rank_correlation
from studies.frame import param_columns
from studies.spec import StudyPlan, StudySpec

SETTLED = 0.9
"""From this rank correlation on, accuracy orders the trials nearly as it does in the end."""
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
        steps: what another program calls its epochs, the first to the last; empty where they are epochs from 1.
    """

    study: str
    label: str
    n: int
    correlation: tuple[float, ...]
    best: float
    stopped: tuple[Stopped, ...]
    epochs: int
    steps: tuple[int, ...] = ()

    def step(self, epoch: int) -> int:
        """What the epoch, counted from 1, is called."""
        return self.steps[epoch - 1] if self.steps else epoch

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
    found = []
    for study, trials in ended.groupby("study", observed=False, sort=True):
        plan = plans[str(study)]
        planned = list(_planned(plan, trials))
        found.append(_pair(plan.name, labels[str(study)], trials, planned, plan.base_config.n_epochs, (0.0, 1.0)))
    return tuple(found)


def stopping_by_step(frame: pd.DataFrame, study: str) -> PairStopping:
    """Early stopping in a study of another program, which counts its steps as it likes and says nowhere how many.

    The steps are those that the complete trials reported at. A complete trial was meant for those it reported at, and a
    stopped one for as many as most complete trials have.
    """
    ended = frame[frame["state"].isin(["complete", "pruned"])]
    is_complete = ended["state"] == "complete"
    steps = sorted({step for curve in ended.loc[is_complete, "curve"] for step in curve})
    place = {step: i for i, step in enumerate(steps)}
    curves = [{place[step]: value for step, value in curve.items() if step in place} for curve in ended["curve"]]
    lengths = pd.Series([max(curve, default=-1) + 1 for curve in curves], index=ended.index, dtype="Int64")
    own = lengths[is_complete]
    usual = int(own.mode().max()) if len(own) else 0
    planned = [int(n) if whole else usual for n, whole in zip(lengths, is_complete, strict=True)]
    found = _pair(
        study,
        study,
        ended.assign(curve=pd.Series(curves, ended.index, dtype=object), epochs=lengths),
        planned,
        usual,
        (-math.inf, math.inf),
    )
    return dataclasses.replace(found, steps=tuple(steps[:usual]))


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


def _pair(
    study: str, label: str, ended: pd.DataFrame, lengths: Sequence[int], usual: int, within: tuple[float, float]
) -> PairStopping:
    """Early stopping at a pair.

    Args:
        study: its name.
        label: the pair in words.
        ended: its complete and stopped trials.
        lengths: how many epochs each of these was meant for.
        usual: the same where no trial is complete.
        within: the ends between which values lie.
    """
    complete, pruned = (ended[ended["state"] == state] for state in ("complete", "pruned"))
    planned = dict(zip(ended.index, lengths, strict=True))
    final = complete["value"].to_numpy(dtype=float)
    # Trials of another length had another schedule: after the same epoch they are not as far.
    own_lengths = [planned[row] for row in complete.index]
    length = max(sorted(set(own_lengths), reverse=True), key=own_lengths.count, default=usual)
    alike = np.array([own == length for own in own_lengths], dtype=bool)
    by_epoch = _by_epoch(complete["curve"][alike], length)
    n = int(np.isfinite(final[alike]).sum())
    correlation = tuple(rank_correlation(after, final[alike]) for after in by_epoch) if n >= FEWEST else ()
    best = float(final[np.isfinite(final)].max()) if np.isfinite(final).any() else math.nan
    pace = _pace(ended)
    median = float(pace.median()) if pace.notna().any() else math.nan
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
            told = line.forecast(accuracy, best, within) if line else None
        saved = max(0, planned[row] - epoch)
        own = float(pace.loc[row])
        stopped.append(Stopped(int(number), epoch, accuracy, told, saved, saved * (median if math.isnan(own) else own)))
    return PairStopping(study, label, n, correlation, best, tuple(stopped), sum(planned.values()))


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
