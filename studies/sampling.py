"""From the search box to values: distributions, and the sampler that fills an empty ticket."""

import copy
import hashlib
import math
from collections.abc import Callable, Container, Mapping
from decimal import Decimal
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from studies.database.transactions import Drawn
from studies.search_space import Axis, Choice, Params, Range, Value
from studies.spec import StudyPlan
from studies.strategies import SAMPLERS


class Drawing:
    """One ticket and its study as Optuna's sampler sees them while it draws; nothing is stored.

    Optuna stores every parameter as soon as it is drawn, in transactions of its own. Here they are collected, and the
    queue stores them all in one, which looks whether the ticket is still this worker's.

    Arguments:
        plan: of the study.
        number: of the trial.
        system_attrs: of the trial; those named "fixed_params" hold what is not left to the sampler.
        before: parameters that were drawn earlier, when somebody else had this ticket.
        others: the trials to learn from, asked when the sampler wants to know; see `TrialStore.begun`.
    """

    def __init__(
        self,
        plan: StudyPlan,
        number: int,
        system_attrs: Mapping[str, Any],
        before: Mapping[str, Drawn],
        others: Callable[[], list[FrozenTrial]],
    ) -> None:
        self.params: dict[str, Drawn] = {}
        self.system_attrs: dict[str, Any] = {}
        self._plan, self._read_others = plan, others
        self._others: list[FrozenTrial] | None = None
        self._trial = FrozenTrial(
            number=number,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=None,
            datetime_complete=None,
            params={name: drawn.distribution.to_external_repr(drawn.internal) for name, drawn in before.items()},
            distributions={name: drawn.distribution for name, drawn in before.items()},
            user_attrs={},
            system_attrs=dict(system_attrs),
            intermediate_values={},
            trial_id=number,
        )

    def draw(self) -> Params:
        """Let the sampler choose every searched parameter that the ticket does not have yet; then tell all."""
        trial = Trial(self._study(), self._trial._trial_id)
        return {name: _suggest(trial, name, axis) for name, axis in self._plan.spec.search.items()}

    def _study(self) -> optuna.Study:
        """The study with its sampler, which looks at no pruner: TPE learns from all halvings of hyperband alike.

        Samplers are not stored, and equal seeds propose equal points. So each ticket has its own sampler, seeded by the
        study's seed and its number: what is drawn does not depend on which worker draws.
        """
        strategy = self._plan.spec.strategy
        text = f"{strategy.seed}/{self._plan.name}/{self._trial.number}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
        return optuna.Study(
            study_name=self._plan.name,
            storage=cast("BaseStorage", self),
            sampler=SAMPLERS[strategy.sampler].build(seed),
        )

    # What Optuna asks of a storage while it draws.

    def get_study_id_from_name(self, study_name: str) -> int:  # noqa: ARG002
        """There is only one."""
        return 0

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:  # noqa: ARG002
        """Of accuracy."""
        return [StudyDirection.MAXIMIZE]

    def get_trial(self, trial_id: int) -> FrozenTrial:  # noqa: ARG002
        """The ticket's; Optuna notes in it what it has drawn."""
        return self._trial

    def get_all_trials(
        self,
        study_id: int,  # noqa: ARG002
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """The others, as they were when the sampler first asked."""
        if self._others is None:
            self._others = [trial for trial in self._read_others() if trial.number != self._trial.number]
        trials = [trial for trial in self._others if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def set_trial_param(self, trial_id: int, name: str, internal: float, distribution: BaseDistribution) -> None:  # noqa: ARG002
        """Keep a parameter for the queue to store."""
        self.params[name] = Drawn(internal, distribution)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ARG002
        """Likewise; a sampler's own notes, which others' read."""
        self.system_attrs[key] = value


def snap(axis: Axis, value: Value) -> Value:
    """`value` as a sampler would give it: of the axis' type, on its ladder without rounding noise (0.1 + 2 · 0.1)."""
    if isinstance(axis, Choice):
        return axis.values[axis.values.index(value)]
    if axis.is_integer:
        return int(value)
    if axis.step is None:
        return float(value)
    return float(_rung(axis, round((float(value) - axis.low) / axis.step)))


def _suggest(trial: Trial, name: str, axis: Axis) -> Value:
    if isinstance(axis, Choice):
        chosen = trial.suggest_categorical(name, axis.values)
        return axis.values[axis.values.index(chosen)]
    if axis.is_integer:
        return trial.suggest_int(name, int(axis.low), int(_top(axis)), step=int(axis.step or 1), log=axis.log)
    return trial.suggest_float(name, axis.low, _top(axis), step=axis.step, log=axis.log)


def _top(axis: Range) -> float:
    """The highest value that can be drawn: the last rung of a ladder that does not reach `high`."""
    if axis.step is None:
        return axis.high
    return float(_rung(axis, math.floor((axis.high - axis.low) / axis.step + 1e-9)))


def _rung(axis: Range, i: int) -> Decimal:
    return Decimal(str(axis.low)) + i * Decimal(str(axis.step))
