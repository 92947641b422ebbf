"""Whether a trial should stop early: the decisions of Optuna's pruners, from as little as they depend on.

Optuna's own pruners ask for all trials after every epoch, with everything that is stored of them. A rule here is asked
with what the trial itself has reported, and looks at the others (`OtherTrials`) only where that decides. What it
decides is what Optuna's pruner of the same settings decides on the same trials; tests compare them.
"""

import binascii
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, count
from typing import Any, Protocol

from studies.attributes import REFERENCE_ATTR
from studies.database.transactions import Completed, OtherTrials
from studies.spec import StudyPlan
from studies.strategies import PRUNERS


@dataclass(frozen=True)
class Progress:
    """A trial after an epoch.

    Attributes:
        number: of the trial, within its study.
        values: what it has reported, by epoch from 0, at least one. The last epoch is the one to decide on.
        n_rungs: how many rungs of successive halving it has completed before.
    """

    number: int
    values: Mapping[int, float]
    n_rungs: int = 0

    @property
    def epoch(self) -> int:
        """The last one."""
        return max(self.values)


@dataclass(frozen=True)
class Decision:
    """What a rule says after an epoch.

    Attributes:
        stop: whether the trial should stop.
        rungs: the value with which it completed a rung just now, by the name of the attribute that tells the others.
    """

    stop: bool = False
    rungs: Mapping[str, float] = field(default_factory=dict)


class Rule(Protocol):
    """Decides whether a trial should stop early."""

    def __call__(self, trial: Progress, others: OtherTrials) -> Decision:
        """Whether `trial` should stop after its last epoch."""


def rung_attr(rung: int) -> str:
    """The system attribute that holds a trial's value at a rung; Optuna's own name for it."""
    return f"completed_rung_{rung}"


def never(trial: Progress, others: OtherTrials) -> Decision:  # noqa: ARG001
    """Every trial runs to its end."""
    return Decision()


@dataclass(frozen=True, kw_only=True)
class BelowMedian:
    """Stops a trial whose best value so far is below the median of the complete trials at that epoch.

    Attributes:
        n_startup_trials: complete trials that must be there before anything is stopped.
        n_warmup_steps: first epoch at which a trial may stop.
        interval_steps: epochs between two looks, from there.
        n_min_trials: complete trials that must have reported that epoch.
    """

    n_startup_trials: int
    n_warmup_steps: int
    interval_steps: int
    n_min_trials: int

    def __call__(self, trial: Progress, others: OtherTrials) -> Decision:
        """See Rule."""
        epoch = trial.epoch
        if epoch < self.n_warmup_steps or not self._looks_at(epoch, trial.values):
            return Decision()
        completed = others.completed_at(epoch)
        if completed.n_trials < max(1, self.n_startup_trials):
            return Decision()
        numbers = [value for value in trial.values.values() if not math.isnan(value)]
        if not numbers:
            return Decision(stop=True)
        if len(completed.values) < self.n_min_trials:
            return Decision()
        median = _median(completed)
        return Decision(stop=median is not None and max(numbers) < median)

    def _looks_at(self, epoch: int, values: Mapping[int, float]) -> bool:
        """Whether this is the first epoch reported since the last look was due."""
        due = epoch - (epoch - self.n_warmup_steps) % self.interval_steps
        return not any(due <= other < epoch for other in values)


def _median(completed: Completed) -> float | None:
    """The median of those that are numbers, to the last bit as numpy's percentile gives it; None if there are none."""
    values = completed.values
    n = len(values)
    while n and math.isnan(values[n - 1]):
        n -= 1
    if n == 0:
        return None
    low, high = float(values[(n - 1) // 2]), float(values[n // 2])
    return high - (high - low) * 0.5


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Asynchronous successive halving: the best 1/reduction_factor of those that reach a rung go on.

    Rung k is completed after min_resource * reduction_factor^(min_early_stopping_rate + k) epochs.

    Attributes:
        competes: whether a trial of that number is compared with; None for all.
    """

    min_resource: int
    reduction_factor: int
    min_early_stopping_rate: int
    competes: Callable[[int], bool] | None = None

    def __call__(self, trial: Progress, others: OtherTrials) -> Decision:
        """See Rule."""
        epoch = trial.epoch
        value = trial.values[epoch]
        rungs: dict[str, float] = {}
        rung = trial.n_rungs
        while epoch >= self.min_resource * self.reduction_factor ** (self.min_early_stopping_rate + rung):
            if math.isnan(value):
                return Decision(stop=True)
            key = rung_attr(rung)
            rungs[key] = value
            noted = others.noted(key)
            rivals = [v for number, v in noted.items() if self.competes is None or self.competes(number)]
            if not self._is_promoted(value, [*rivals, value]):
                return Decision(stop=True, rungs=rungs)
            rung += 1
        return Decision(rungs=rungs)

    def _is_promoted(self, value: float, all_values: list[float]) -> bool:
        n_promoted = max(1, len(all_values) // self.reduction_factor)
        return value >= sorted(all_values, reverse=True)[n_promoted - 1]


@dataclass(frozen=True)
class Hyperband:
    """Several successive halvings, each with trials of its own: which one a trial is in follows from its number.

    Arguments:
        study: its name, which shuffles the trials.
        min_resource: epochs before the most hasty one's first rung.
        max_resource: epochs of a whole trial.
        reduction_factor: of each.
    """

    study: str
    min_resource: int
    max_resource: int
    reduction_factor: int

    def __call__(self, trial: Progress, others: OtherTrials) -> Decision:
        """See Rule."""
        mine = self.bracket(trial.number)
        halving = Halving(
            min_resource=self.min_resource,
            reduction_factor=self.reduction_factor,
            min_early_stopping_rate=mine,
            competes=lambda number: self.bracket(number) == mine,
        )
        return halving(trial, others)

    @cached_property
    def _ends(self) -> list[int]:
        """Hyperband's shares of the trials, summed up: a draw below the first is of the first halving, and so on."""
        n = math.floor(math.log(self.max_resource / self.min_resource, self.reduction_factor)) + 1
        return list(accumulate(math.ceil(n * self.reduction_factor**s / (s + 1)) for s in reversed(range(n))))

    def bracket(self, number: int) -> int:
        """The halving that this trial is in, from 0, the hastiest; a checksum draws it, as in Optuna."""
        drawn = binascii.crc32(f"{self.study}_{number}".encode()) % self._ends[-1]
        return bisect_right(self._ends, drawn)


@dataclass(frozen=True)
class Verdict:
    """What the pruner has said of one trial so far.

    Attributes:
        stop: whether it wants the trial stopped. It is not asked about later epochs then.
        noted: attributes that are to be stored with the reports, for the pruner's decisions on others.
    """

    rule: Rule
    number: int
    n_rungs: int = 0
    stop: bool = False
    noted: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: StudyPlan, number: int, attrs: Mapping[str, Any]) -> "Verdict":
        """Of a trial that begins, or goes on, with these system attributes."""
        strategy = plan.spec.strategy
        row = PRUNERS[strategy.pruner.name]
        rule = row.rule(strategy.pruner.options, plan.base_config.n_epochs, plan.name)
        n_rungs = next(rung for rung in count() if rung_attr(rung) not in attrs)
        return cls(never if attrs.get(REFERENCE_ATTR, False) else rule, number, n_rungs)

    def after(self, values: Mapping[int, float], others: OtherTrials, *, replayed: bool) -> "Verdict":
        """The verdict after the last epoch of `values`, all that the trial has reported."""
        if self.stop:
            return self
        decision = self.rule(Progress(self.number, values, self.n_rungs), others)
        return replace(
            self,
            n_rungs=self.n_rungs + len(decision.rungs),
            stop=decision.stop and not replayed,
            noted={**self.noted, **decision.rungs},
        )

    def settled(self) -> "Verdict":
        """This verdict, after what is to be noted was stored."""
        return replace(self, noted={})
