"""What a worker knows of the other trials of a study: read once where they are finished, and only what is asked for.

A finished trial never changes again. So all trials up to the first that is not finished are read once, and from then on
each look asks for the few above: those that run, and those that finished since. Waiting tickets, of which there may be
thousands, are never read.

Unless the server is set back to an earlier state (a failover, a restored backup), or the study's number is another
study's now: then what was finished may run again, or be another trial. Each look sees whether the trial that finished
last is still the same; what a server forgets is what it was told last. If it is not, everything is read anew.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.dialects import postgresql

from studies.database.transactions import Completed
from studies.database.trial_tables import (
    PARAMS,
    REPORTED_NUMBER,
    REPORTS,
    STUDY_ID,
    SYSTEM_ATTRS,
    TRIALS,
    VALUES,
    Distributions,
    attrs_by_trial,
    final_value,
    params_by_trial,
    reported_value,
)

_Floats = np.ndarray[Any, np.dtype[np.float64]]

_FLOOR: sa.BindParameter[int] = sa.bindparam("floor_")
_ABOVE = (TRIALS.c.study_id == STUDY_ID) & (TRIALS.c.trial_id > _FLOOR)
_WAITING = TRIALS.alias("waiting_trials")
_FIRST_WAITING = (
    sa.select(sa.func.min(_WAITING.c.trial_id))
    .where(_WAITING.c.study_id == STUDY_ID, _WAITING.c.trial_id > _FLOOR, _WAITING.c.state == TrialState.WAITING)
    .scalar_subquery()  # in the same statement, so that nothing changes between the two questions
)
_LANDMARK: sa.BindParameter[int] = sa.bindparam("landmark_")
_BEGUN = (
    sa.select(
        TRIALS.c.trial_id,
        TRIALS.c.number,
        TRIALS.c.state,
        _FIRST_WAITING.label("first_waiting"),
        TRIALS.c.datetime_complete,
        TRIALS.c.study_id,
    )
    .where(sa.or_(_ABOVE, TRIALS.c.trial_id == _LANDMARK), TRIALS.c.state != TrialState.WAITING)
    .order_by(TRIALS.c.trial_id)
)
_VALUES = (
    sa.select(VALUES.c.trial_id, VALUES.c.value, VALUES.c.value_type)
    .join(TRIALS, TRIALS.c.trial_id == VALUES.c.trial_id)
    .where(_ABOVE, VALUES.c.objective == 0)
)
_PARAMS = (
    sa.select(PARAMS.c.trial_id, PARAMS.c.param_name, PARAMS.c.param_value, PARAMS.c.distribution_json)
    .join(TRIALS, TRIALS.c.trial_id == PARAMS.c.trial_id)
    .where(_ABOVE, TRIALS.c.state != TrialState.WAITING)
    .order_by(PARAMS.c.param_id)
)
_RUNNING_ATTRS = (
    sa.select(SYSTEM_ATTRS.c.trial_id, SYSTEM_ATTRS.c.key, SYSTEM_ATTRS.c.value_json)
    .join(TRIALS, TRIALS.c.trial_id == SYSTEM_ATTRS.c.trial_id)
    .where(_ABOVE, TRIALS.c.state == TrialState.RUNNING)
)
_EARLIER = REPORTS.alias("earlier_reports")
_LAST_OF_PRUNED = (
    sa.select(REPORTS.c.trial_id, REPORTS.c.step, REPORTS.c.intermediate_value, REPORTS.c.intermediate_value_type)
    .join(TRIALS, TRIALS.c.trial_id == REPORTS.c.trial_id)
    .where(
        _ABOVE,
        TRIALS.c.state == TrialState.PRUNED,
        REPORTS.c.step
        == sa.select(sa.func.max(_EARLIER.c.step)).where(_EARLIER.c.trial_id == REPORTS.c.trial_id).scalar_subquery(),
    )
)

# Values of these trials after some epochs. The ids are sent as text and Postgres answers with eight bytes a value: ten
# thousand of them, as a list or as rows, would cost the training process milliseconds after every epoch.
_IDS = sa.bindparam("ids_", type_=sa.Text())
_THEN = REPORTS.c.step.between(sa.bindparam("first_"), sa.bindparam("last_"))
_PACKED = sa.func.string_agg(sa.func.float8send(REPORTED_NUMBER), sa.cast(b"", postgresql.BYTEA))
_REPORTED: Mapping[str, sa.Select[Any]] = {
    "postgresql": sa.select(REPORTS.c.step, _PACKED)
    .where(_THEN, REPORTS.c.trial_id == sa.any_(sa.cast(_IDS, postgresql.ARRAY(sa.Integer))))
    .group_by(REPORTS.c.step),
    "sqlite": sa.select(REPORTS.c.step, REPORTS.c.intermediate_value, REPORTS.c.intermediate_value_type).where(
        _THEN, REPORTS.c.trial_id.in_(sa.select(sa.func.json_each(_IDS).table_valued("value").c.value))
    ),
}

EPOCHS_AT_ONCE = 16
"""A worker that reads what complete trials reported after one epoch will soon want the next ones, too."""


@dataclass(frozen=True)
class _Landmark:
    """A finished trial that must still be there; when it finished is as good as a random word."""

    trial_id: int
    study_id: int
    state: TrialState
    finished: datetime | None

    @classmethod
    def of(cls, row: Any) -> "_Landmark":
        return cls(row.trial_id, row.study_id, row.state, row.datetime_complete)


class _Frontier:
    """Where the trials of a study begin that may still change."""

    def __init__(self, study_id: int) -> None:
        self._study_id = study_id
        self.floor = -1
        "All trials up to this id are finished."
        self._landmark: _Landmark | None = None

    def look(
        self, connection: sa.Connection, forget: Callable[[], None], *statements: sa.Select[Any]
    ) -> list[list[Any]]:
        """The trials above the floor that have begun, as rows; then what these statements select of them.

        If what was known is not so any more, `forget` is called, and the trials are all that have begun.
        """
        begun = self._begun(connection)
        if self._landmark is not None and self._landmark not in map(_Landmark.of, begun):
            self.floor, self._landmark = -1, None
            forget()
            begun = self._begun(connection)
        above = [row for row in begun if row.trial_id > self.floor]
        where = {"study_id_": self._study_id, "floor_": self.floor}
        return [above, *(list(connection.execute(statement, where)) for statement in statements)]

    def _begun(self, connection: sa.Connection) -> list[Any]:
        landmark = -1 if self._landmark is None else self._landmark.trial_id
        where = {"study_id_": self._study_id, "floor_": self.floor, "landmark_": landmark}
        return list(connection.execute(_BEGUN, where))

    def advance(self, begun: list[Any]) -> None:
        """Raise the floor, after everything was made of what `look` gave."""
        if not begun:
            return
        finished = [_Landmark.of(row) for row in begun if row.state.is_finished()]
        known = finished if self._landmark is None else [*finished, self._landmark]
        self._landmark = max(known, key=lambda mark: (mark.finished or datetime.min, mark.trial_id), default=None)
        unfinished = [row.trial_id for row in begun if not row.state.is_finished()]
        if begun[0].first_waiting is not None:  # one that was given back may be below those that finished
            unfinished.append(begun[0].first_waiting)
        self.floor = min(unfinished) - 1 if unfinished else begun[-1].trial_id


class CompletedReports:
    """What the complete trials of a study have reported, epoch by epoch. Threads may share it.

    Eight bytes an epoch and complete trial are kept.
    """

    def __init__(self, study_id: int) -> None:
        self._frontier = _Frontier(study_id)
        self._lock = threading.Lock()
        self._complete: dict[int, None] = {}  # ids, in the order in which they were noticed
        self._sorted: dict[int, tuple[int, _Floats]] = {}  # by epoch: what the first so many of them reported
        self._everything = (0, "")  # the first so many ids as text: what an epoch asks for that is asked the first time

    def at(self, connection: sa.Connection, epoch: int) -> Completed:
        """The complete trials after this epoch."""
        with self._lock:
            (begun,) = self._frontier.look(connection, self._forget)
            self._complete.update({row.trial_id: None for row in begun if row.state == TrialState.COMPLETE})
            self._frontier.advance(begun)
            merged = self._merged(epoch)
            if merged < len(self._complete):
                next_ones = range(epoch, epoch + EPOCHS_AT_ONCE)
                self._merge(connection, merged, [e for e in next_ones if self._merged(e) == merged])
            return Completed(*self._sorted.get(epoch, (0, ())))

    def _forget(self) -> None:
        self._complete, self._sorted, self._everything = {}, {}, (0, "")

    def _merged(self, epoch: int) -> int:
        return self._sorted[epoch][0] if epoch in self._sorted else 0

    def _merge(self, connection: sa.Connection, after: int, epochs: Sequence[int]) -> None:
        """Add what the complete trials after the first so many reported, at these epochs."""
        new = self._read(connection, epochs[0], epochs[-1], after)
        for epoch in epochs:
            values, more = self._sorted.get(epoch, (0, np.empty(0)))[1], new.get(epoch, np.empty(0))
            if values.size:
                more = np.concatenate([values, more])
            # The stable one makes use of what is sorted already; of what is not, the other is the fastest.
            self._sorted[epoch] = (len(self._complete), np.sort(more, kind="stable" if values.size else "quicksort"))

    def _read(self, connection: sa.Connection, first: int, last: int, after: int) -> Mapping[int, _Floats]:
        """What the complete trials after the first so many reported, in any order, by epoch."""
        dialect = connection.dialect.name
        ids = self._everything[1] if self._everything[0] == len(self._complete) and not after else ""
        if not ids:
            ids = ",".join(map(str, list(self._complete)[after:]))
            if not after:
                self._everything = (len(self._complete), ids)
        ids = f"{{{ids}}}" if dialect == "postgresql" else f"[{ids}]"
        result = connection.execute(_REPORTED[dialect], {"first_": first, "last_": last, "ids_": ids})
        if dialect == "postgresql":
            return {epoch: np.frombuffer(packed, dtype=">f8").astype(np.float64) for epoch, packed in result}
        values: dict[int, list[float]] = defaultdict(list)
        for epoch, stored, kind in result:
            values[epoch].append(reported_value(stored, kind))
        return {epoch: np.array(of_epoch, dtype=np.float64) for epoch, of_epoch in values.items()}


class BegunTrials:
    """The trials of a study that samplers learn from. Threads may share it."""

    def __init__(self, study_id: int) -> None:
        self._frontier = _Frontier(study_id)
        self._lock = threading.Lock()
        self._finished: dict[int, FrozenTrial] = {}
        self._distribution = Distributions()

    def read(self, connection: sa.Connection) -> list[FrozenTrial]:
        """See `studies.database.transactions.TrialStore.begun`."""
        with self._lock:
            tables = self._frontier.look(
                connection, self._finished.clear, _VALUES, _PARAMS, _RUNNING_ATTRS, _LAST_OF_PRUNED
            )
            begun, *rest = tables
            found = {trial.number: trial for trial in self._trials(begun, *rest)}
            self._finished.update({n: trial for n, trial in found.items() if trial.state.is_finished()})
            self._frontier.advance(begun)
            trials = {**self._finished, **found}
            return [trials[number] for number in sorted(trials)]

    def _trials(
        self,
        begun: Iterable[Any],
        values: Iterable[Any],
        params: Iterable[Any],
        attrs: Iterable[Any],
        last: Iterable[Any],
    ) -> Iterable[FrozenTrial]:
        value = {row.trial_id: final_value(row.value, row.value_type) for row in values}
        params_of, distributions_of = params_by_trial(params, self._distribution)
        attrs_of = attrs_by_trial(attrs)
        last_of = {trial_id: {step: reported_value(stored, kind)} for trial_id, step, stored, kind in last}
        for trial_id, number, state, *_ in begun:
            if state == TrialState.FAIL:
                continue
            # A trial may have changed between two statements: what it was in the first counts.
            is_running = state == TrialState.RUNNING
            yield FrozenTrial(
                number=number,
                state=state,
                value=None if is_running else value.get(trial_id),
                datetime_start=None,
                datetime_complete=None,
                params=params_of[trial_id],
                distributions=distributions_of[trial_id],
                user_attrs={},
                system_attrs=attrs_of[trial_id] if is_running else {},
                intermediate_values=last_of.get(trial_id, {}) if state == TrialState.PRUNED else {},
                trial_id=trial_id,
            )
