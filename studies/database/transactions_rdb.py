"""Transactions on Optuna's tables in a relational database (`studies.database.transactions` says what they are for).

`studies.database.trial_tables` has the tables and the statements; the queue's tests run against every supported
database.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from studies.database import trial_tables as tables
from studies.database.counting import count_trials
from studies.database.deleting import delete_study
from studies.database.other_trials import BegunTrials, CompletedReports
from studies.database.retrying import Retrier
from studies.database.stored_trials import fetch, trials_of
from studies.database.transactions import (
    CONTROL_ATTR,
    IDENTITY_ATTR,
    RETRY_OF_ATTR,
    Completed,
    Counts,
    Drawn,
    LockedTrial,
    Transaction,
)
from studies.database.trial_tables import BEATS, PARAMS, SYSTEM_ATTRS, TRIALS, Distributions

T = TypeVar("T")


class RdbStore:
    """A TrialStore over Optuna's relational storage.

    Arguments:
        rdb: Optuna's storage, without cache. Its heartbeat interval and grace period (seconds) decide who is dead.
        retrier: rides out outages.
    """

    def __init__(self, rdb: RDBStorage, retrier: Retrier) -> None:
        self._rdb, self._retrier = rdb, retrier
        self.heartbeat_interval: float | None = rdb.heartbeat_interval
        self.grace_period: float | None = grace_period(rdb)
        self._known = _Known(retrier)

    def run(self, change: Callable[[Transaction], T]) -> T:
        """See TrialStore."""
        # SQLite locks no rows; `open_storage` makes its whole transactions take turns instead.
        return self._in_transaction(lambda connection: change(_RdbTransaction(self._rdb, connection, self._known)))

    def _in_transaction(self, work: Callable[[sa.Connection], T]) -> T:
        def attempt() -> T:
            with self._rdb.engine.begin() as connection:
                return work(connection)

        return self._retrier(attempt)

    def stale(self, study_id: int) -> list[int]:
        """See TrialStore."""
        running = (TRIALS.c.study_id == study_id) & (TRIALS.c.state == TrialState.RUNNING)
        return self._in_transaction(lambda connection: self._known.stale(self._rdb, connection, running))

    def begun(self, study_id: int) -> list[FrozenTrial]:
        """See TrialStore."""
        return self._in_transaction(self._known.begun(study_id).read)

    def trials(self, study_id: int) -> list[FrozenTrial]:
        """See TrialStore."""
        return trials_of(self._in_transaction(lambda connection: fetch(connection, study_id)))


class _Known:
    """What one process knows: of finished trials, by study, and whether it could know who is dead."""

    def __init__(self, retrier: Retrier) -> None:
        self._retrier = retrier
        self._reports: dict[int, CompletedReports] = {}
        self._begun: dict[int, BegunTrials] = {}

    def reports(self, study_id: int) -> CompletedReports:
        return self._reports.setdefault(study_id, CompletedReports(study_id))

    def begun(self, study_id: int) -> BegunTrials:
        return self._begun.setdefault(study_id, BegunTrials(study_id))

    def stale(self, rdb: RDBStorage, connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[int]:
        """See `_stale`; none while this process has not been in touch with the database for the grace period.

        What cut it off may have cut off the living as well. They find their way back one after the other.
        """
        grace = grace_period(rdb)
        return [] if grace is None or self._retrier.in_touch_for() < grace else _stale(rdb, connection, which, grace)


def grace_period(rdb: RDBStorage) -> float | None:
    """Seconds without a beat after which a running trial counts as dead; None where nobody beats."""
    if rdb.heartbeat_interval is None:
        return None
    return rdb.grace_period if rdb.grace_period is not None else 2 * rdb.heartbeat_interval


def _stale(rdb: RDBStorage, connection: sa.Connection, which: sa.ColumnElement[bool], grace: float) -> list[int]:
    """Of `which` trials those for which the grace period has passed since the last beat, or since the database was up.

    All by the database's own clock: the clocks of workers may disagree. A trial without a beat was claimed by something
    else than TicketQueue.claim, which beats in the same transaction, and is left alone.
    """
    # While the server was down nobody could beat; after it is back, live workers need time to say so.
    dialect = rdb.engine.name
    query = (
        sa.select(TRIALS.c.trial_id, BEATS.c.heartbeat, tables.NOW[dialect], tables.UP_SINCE[dialect])
        .join(BEATS, BEATS.c.trial_id == TRIALS.c.trial_id)
        .where(which)
        .order_by(TRIALS.c.trial_id)
    )
    return [
        trial_id
        for trial_id, last, now, up_since in connection.execute(query)
        if now - max(last, up_since or datetime.min) > timedelta(seconds=grace)
    ]


class _RdbTransaction:
    def __init__(self, rdb: RDBStorage, connection: sa.Connection, known: _Known) -> None:
        self._rdb, self._connection, self._known = rdb, connection, known

    def lock(self, trial_id: int) -> LockedTrial:
        row = self._connection.execute(tables.LOCK_TRIAL, {"trial_id_": trial_id}).one_or_none()
        if row is None:
            raise KeyError(trial_id)
        return self._trial(row)

    def try_lock(self, trial_id: int) -> LockedTrial | None:
        row = self._connection.execute(tables.TRY_LOCK_TRIAL, {"trial_id_": trial_id}).one_or_none()
        return None if row is None else self._trial(row)

    def lock_numbered(self, study_id: int, number: int) -> LockedTrial:
        where = {"study_id_": study_id, "number_": number}
        row = self._connection.execute(tables.LOCK_NUMBERED, where).one_or_none()
        if row is None:
            raise KeyError(number)
        return self._trial(row)

    def lock_next_waiting(self, study_id: int) -> LockedTrial | None:
        row = self._connection.execute(tables.LOCK_NEXT_WAITING, {"study_id_": study_id}).one_or_none()
        return None if row is None else self._trial(row)

    def _trial(self, row: Any) -> LockedTrial:
        return _RdbTrial(self._rdb, self._connection, self._known, row)

    def successor_of(self, study_id: int, number: int) -> int | None:
        query = (
            sa.select(TRIALS.c.number)
            .join(SYSTEM_ATTRS, SYSTEM_ATTRS.c.trial_id == TRIALS.c.trial_id)
            .where(
                TRIALS.c.study_id == study_id,
                SYSTEM_ATTRS.c.key == RETRY_OF_ATTR,
                SYSTEM_ATTRS.c.value_json == json.dumps(number),
            )
        )
        successor: int | None = self._connection.scalar(query.limit(1))
        return successor

    def append(self, study_id: int, tickets: Sequence[Mapping[str, Any]]) -> int:
        self._lock_study(study_id)  # as Optuna does: the numbers are counted
        count = sa.select(sa.func.count()).select_from(TRIALS).where(TRIALS.c.study_id == study_id)
        first: int = self._connection.scalar(count) or 0
        rows = [{"study_id": study_id, "number": first + i, "state": TrialState.WAITING} for i in range(len(tickets))]
        insert = sa.insert(TRIALS).returning(TRIALS.c.trial_id, sort_by_parameter_order=True)
        ids = self._connection.execute(insert, rows).scalars().all()
        attrs = [
            row
            for trial_id, ticket in zip(ids, tickets, strict=True)
            for row in tables.attr_rows("trial_id", trial_id, ticket)
        ]
        self._connection.execute(sa.insert(SYSTEM_ATTRS), attrs)
        return first

    def glance(self, study_id: int) -> dict[str, Any]:
        found = self._connection.execute(tables.GLANCE, {"study_id_": study_id}).all()
        if not found:
            raise KeyError(study_id)
        return {key: json.loads(text) for key, text in found if key is not None}

    def study_attrs(self, study_id: int) -> dict[str, Any]:
        self._lock_study(study_id)
        found = self._connection.execute(tables.STUDY_ATTRS, {"study_id_": study_id})
        return {key: json.loads(text) for key, text in found}

    def set_study_attrs(self, study_id: int, attrs: Mapping[str, Any]) -> None:
        self._lock_study(study_id)
        tables.put_study_attrs(self._connection, tables.attr_rows("study_id", study_id, attrs))

    def counts(self, study_id: int) -> Counts:
        return count_trials(self._connection, study_id)

    def delete_study(self, study_id: int) -> None:
        delete_study(self._connection, study_id)

    def _lock_study(self, study_id: int) -> None:
        if self._connection.scalar(tables.LOCK_STUDY, {"study_id_": study_id}) is None:
            raise KeyError(study_id)


class _RdbTrial:
    def __init__(self, rdb: RDBStorage, connection: sa.Connection, known: _Known, row: Any) -> None:
        self._rdb, self._connection, self._known = rdb, connection, known
        self.trial_id: int = row.trial_id
        self.number: int = row.number
        self.state: TrialState = row.state
        self.study_id: int = row.study_id
        found = connection.execute(tables.TRIAL_AND_STUDY, {"trial_id_": row.trial_id, "study_id_": row.study_id}).all()
        self.system_attrs: Mapping[str, Any] = {key: json.loads(text) for key, text, of_study in found if not of_study}
        of_study = {key: str(json.loads(text)) for key, text, of_study in found if of_study}
        self.control: str | None = of_study.get(CONTROL_ATTR)
        self.identity: str | None = of_study.get(IDENTITY_ATTR)

    def drawn(self) -> dict[str, Drawn]:
        distribution = Distributions()
        found = self._connection.execute(tables.TRIAL_PARAMS, {"trial_id_": self.trial_id})
        return {name: Drawn(internal, distribution(text)) for name, internal, text in found}

    def set_drawn(self, params: Mapping[str, Drawn]) -> None:
        if params:
            self._connection.execute(sa.insert(PARAMS), tables.param_rows(self.trial_id, params))

    def reported(self) -> dict[int, float]:
        found = self._connection.execute(tables.TRIAL_REPORTS, {"trial_id_": self.trial_id})
        return {step: tables.reported_value(stored, kind) for step, stored, kind in found}

    def report(self, values: Mapping[int, float]) -> None:
        tables.put_reports(self._connection, tables.report_rows(self.trial_id, values))

    def set_system_attrs(self, attrs: Mapping[str, Any]) -> None:
        tables.put_system_attrs(self._connection, tables.attr_rows("trial_id", self.trial_id, attrs))

    def set_user_attrs(self, attrs: Mapping[str, Any]) -> None:
        tables.put_user_attrs(self._connection, tables.attr_rows("trial_id", self.trial_id, attrs))

    def completed_at(self, epoch: int) -> Completed:
        return self._known.reports(self.study_id).at(self._connection, epoch)

    def noted(self, key: str) -> dict[int, float]:
        where = {"study_id_": self.study_id, "trial_id_": self.trial_id, "key_": key}
        return {number: float(text) for number, text in self._connection.execute(tables.NOTED, where)}

    def beat(self) -> None:
        self._connection.execute(tables.BEAT[self._rdb.engine.name], {"trial_id_": self.trial_id})

    def is_stale(self) -> bool:
        return bool(self._known.stale(self._rdb, self._connection, TRIALS.c.trial_id == self.trial_id))

    def become(self, state: TrialState, value: float | None = None) -> None:
        if value is not None:
            tables.put_values(self._connection, [tables.value_row(self.trial_id, value)])
        # In UTC, and by the database: the clocks of two workers may disagree.
        when: dict[str, Any] = {"datetime_complete": tables.NOW[self._rdb.engine.name]}
        if state == TrialState.WAITING:
            when = {"datetime_start": None}
        elif state == TrialState.RUNNING:
            when = {"datetime_start": tables.NOW[self._rdb.engine.name]}
        change = sa.update(TRIALS).where(TRIALS.c.trial_id == self.trial_id).values(state=state, **when)
        self._connection.execute(change)
        self.state = state
