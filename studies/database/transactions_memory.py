"""Transactions on Optuna's in-memory storage (`studies.database.transactions` says what they are for)."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from studies.database.transactions import (
    CONTROL_ATTR,
    IDENTITY_ATTR,
    RETRY_OF_ATTR,
    SPEC_ATTR,
    Completed,
    Counts,
    Drawn,
    LockedTrial,
    Transaction,
)

T = TypeVar("T")


class MemoryStore:
    """A TrialStore over Optuna's in-memory storage, for one process. No heartbeats: its workers die with it."""

    def __init__(self, storage: InMemoryStorage) -> None:
        self.heartbeat_interval: float | None = None
        self.grace_period: float | None = None
        self._memory = storage

    def run(self, change: Callable[[Transaction], T]) -> T:
        """See TrialStore. There is no rollback, so a `change` must check before it writes (they all do)."""
        with self._memory._lock:
            return change(_MemoryTransaction(self._memory))

    def stale(self, study_id: int) -> list[int]:  # noqa: ARG002
        """None: see the class."""
        return []

    def begun(self, study_id: int) -> list[FrozenTrial]:
        """See TrialStore."""
        states = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
        return self._memory.get_all_trials(study_id, deepcopy=False, states=states)

    def trials(self, study_id: int) -> list[FrozenTrial]:
        """See TrialStore."""
        return self._memory.get_all_trials(study_id, deepcopy=False)


class _MemoryTransaction:
    def __init__(self, memory: InMemoryStorage) -> None:
        self._memory = memory

    def lock(self, trial_id: int) -> LockedTrial:
        return _MemoryTrial(self._memory, trial_id)

    def try_lock(self, trial_id: int) -> LockedTrial | None:
        return _MemoryTrial(self._memory, trial_id)

    def lock_numbered(self, study_id: int, number: int) -> LockedTrial:
        return self.lock(self._memory.get_trial_id_from_study_id_trial_number(study_id, number))

    def lock_next_waiting(self, study_id: int) -> LockedTrial | None:
        # Not the tuple (WAITING,): for exactly that question Optuna starts at the first trial that was waiting last
        # time, and would never again find a lower one that was given back.
        waiting = self._memory.get_all_trials(study_id, deepcopy=False, states=[TrialState.WAITING])
        return _MemoryTrial(self._memory, waiting[0]._trial_id) if waiting else None

    def successor_of(self, study_id: int, number: int) -> int | None:
        trials = self._memory.get_all_trials(study_id, deepcopy=False)
        return next((trial.number for trial in trials if trial.system_attrs.get(RETRY_OF_ATTR) == number), None)

    def append(self, study_id: int, tickets: Sequence[Mapping[str, Any]]) -> int:
        first = len(self._memory.get_all_trials(study_id, deepcopy=False))
        for attrs in tickets:
            self._memory.create_new_trial(study_id, create_trial(state=TrialState.WAITING, system_attrs=dict(attrs)))
        return first

    def glance(self, study_id: int) -> dict[str, Any]:
        attrs = self._memory.get_study_user_attrs(study_id)
        return {key: attrs[key] for key in (CONTROL_ATTR, IDENTITY_ATTR, SPEC_ATTR) if key in attrs}

    def study_attrs(self, study_id: int) -> dict[str, Any]:
        return dict(self._memory.get_study_user_attrs(study_id))

    def set_study_attrs(self, study_id: int, attrs: Mapping[str, Any]) -> None:
        for key, value in attrs.items():
            self._memory.set_study_user_attr(study_id, key, value)

    def counts(self, study_id: int) -> Counts:
        trials = self._memory.get_all_trials(study_id, deepcopy=False)
        states = {state.name: sum(trial.state == state for trial in trials) for state in TrialState}
        superseded = {trial.system_attrs.get(RETRY_OF_ATTR) for trial in trials}
        retried = sum(trial.state == TrialState.FAIL and trial.number in superseded for trial in trials)
        values = [trial.values[0] for trial in trials if trial.state == TrialState.COMPLETE]
        return Counts.of(states, retried=retried, best=max(values, default=None))

    def delete_study(self, study_id: int) -> None:
        self._memory.delete_study(study_id)


class _MemoryTrial:
    def __init__(self, memory: InMemoryStorage, trial_id: int) -> None:
        self._memory = memory
        self.trial_id = trial_id
        self.number = memory.get_trial(trial_id).number
        self.study_id = memory._trial_id_to_study_id_and_number[trial_id][0]

    @property
    def state(self) -> TrialState:
        return self._memory.get_trial(self.trial_id).state

    @property
    def system_attrs(self) -> Mapping[str, Any]:
        return self._memory.get_trial(self.trial_id).system_attrs

    def drawn(self) -> dict[str, Drawn]:
        trial = self._memory.get_trial(self.trial_id)
        distributions = trial.distributions
        return {
            name: Drawn(distributions[name].to_internal_repr(value), distributions[name])
            for name, value in trial.params.items()
        }

    def set_drawn(self, params: Mapping[str, Drawn]) -> None:
        for name, drawn in params.items():
            self._memory.set_trial_param(self.trial_id, name, drawn.internal, drawn.distribution)

    def reported(self) -> dict[int, float]:
        return dict(self._memory.get_trial(self.trial_id).intermediate_values)

    def report(self, values: Mapping[int, float]) -> None:
        for epoch, value in values.items():
            self._memory.set_trial_intermediate_value(self.trial_id, epoch, value)

    def set_system_attrs(self, attrs: Mapping[str, Any]) -> None:
        for key, value in attrs.items():
            self._memory.set_trial_system_attr(self.trial_id, key, value)

    def set_user_attrs(self, attrs: Mapping[str, Any]) -> None:
        for key, value in attrs.items():
            self._memory.set_trial_user_attr(self.trial_id, key, value)

    def completed_at(self, epoch: int) -> Completed:
        complete = [trial for trial in self._all() if trial.state == TrialState.COMPLETE]
        values = [trial.intermediate_values[epoch] for trial in complete if epoch in trial.intermediate_values]
        return Completed(len(complete), sorted(values, key=lambda value: (math.isnan(value), value)))

    def noted(self, key: str) -> dict[int, float]:
        others = (trial for trial in self._all() if trial.number != self.number)
        return {trial.number: trial.system_attrs[key] for trial in others if key in trial.system_attrs}

    @property
    def control(self) -> str | None:
        return self._of_study(CONTROL_ATTR)

    @property
    def identity(self) -> str | None:
        return self._of_study(IDENTITY_ATTR)

    def _of_study(self, key: str) -> str | None:
        found = self._memory.get_study_user_attrs(self.study_id).get(key)
        return None if found is None else str(found)

    def _all(self) -> list[FrozenTrial]:
        return self._memory.get_all_trials(self.study_id, deepcopy=False)

    def beat(self) -> None:
        return

    def is_stale(self) -> bool:
        return False

    def become(self, state: TrialState, value: float | None = None) -> None:
        self._memory.set_trial_state_values(self.trial_id, state, None if value is None else [value])
