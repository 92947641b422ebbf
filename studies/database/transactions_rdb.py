"""Transactions on Optuna's tables in a relational database (`studies.database.transactions` says what they are for).

This module knows Optuna's private table models and session; pyproject.toml pins the major version, and the queue's
tests run against every supported database.
"""

import copy
import json
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models as optuna_models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from studies.database.retrying import Retrier
from studies.database.retrying_storage import RetryingStorage
from studies.database.transactions import RETRY_OF_ATTR, Counts, LockedTrial, Transaction

T = TypeVar("T")

models: Any = optuna_models  # their columns are annotated as columns, also where they are values
Trial, SystemAttr, Heartbeat = models.TrialModel, models.TrialSystemAttributeModel, models.TrialHeartbeatModel

_ABOVE_ALL_IDS = 2**31 - 1


class RdbStore:
    """A TrialStore over Optuna's relational storage.

    Arguments:
        rdb: Optuna's storage, without cache. Its heartbeat interval and grace period (seconds) decide who is dead.
        retrier: rides out outages.
    """

    def __init__(self, rdb: RDBStorage, retrier: Retrier) -> None:
        self._rdb, self._retrier = rdb, retrier
        self.storage: BaseStorage = BegunTrials(rdb, retrier)
        self.heartbeat_interval: float | None = rdb.heartbeat_interval

    def run(self, change: Callable[[Transaction], T]) -> T:
        """See TrialStore."""

        def attempt() -> T:
            # SQLite locks no rows; `open_storage` makes its whole transactions take turns instead.
            with _create_scoped_session(self._rdb.scoped_session) as session:
                return change(_RdbTransaction(self._rdb, session))

        return self._retrier(attempt)

    def stale(self, study_id: int) -> list[int]:
        """See TrialStore."""
        if grace_period(self._rdb) is None:
            return []

        def ask() -> list[int]:
            with _create_scoped_session(self._rdb.scoped_session) as session:
                running = session.query(Trial.trial_id).filter_by(study_id=study_id, state=TrialState.RUNNING)
                ids = [trial_id for (trial_id,) in running.order_by(Trial.trial_id)]
                return [trial_id for trial_id in ids if _is_stale(self._rdb, session, trial_id)]

        return self._retrier(ask)

    def counts(self, study_id: int) -> Counts:
        """See TrialStore."""

        def ask() -> Counts:
            with _create_scoped_session(self._rdb.scoped_session) as session:
                models.StudyModel.find_or_raise_by_id(study_id, session)
                of_study = Trial.study_id == study_id
                states = session.query(Trial.state, sa.func.count()).filter(of_study).group_by(Trial.state).all()
                failed, successor = sa.orm.aliased(Trial), sa.orm.aliased(Trial)
                retried = (
                    session.query(sa.func.count())
                    .select_from(SystemAttr)
                    .join(successor, successor.trial_id == SystemAttr.trial_id)
                    .join(
                        failed,
                        (failed.study_id == successor.study_id)
                        & (failed.number == sa.cast(SystemAttr.value_json, sa.Integer)),
                    )
                    .filter(
                        SystemAttr.key == RETRY_OF_ATTR,
                        successor.study_id == study_id,
                        failed.state == TrialState.FAIL,
                    )
                )
                best = (
                    session.query(sa.func.max(models.TrialValueModel.value))
                    .join(Trial, Trial.trial_id == models.TrialValueModel.trial_id)
                    .filter(of_study, Trial.state == TrialState.COMPLETE)
                )
                return Counts.of(
                    {state.name: n for state, n in states}, retried=retried.scalar() or 0, best=best.scalar()
                )

        return self._retrier(ask)


class BegunTrials(RetryingStorage):
    """The storage as samplers and pruners should see it: only trials that have begun, finished ones read once.

    They ask for all trials after every epoch. Thousands of tickets that wait would be sent each time, for nothing.
    """

    def __init__(self, rdb: RDBStorage, retrier: Retrier) -> None:
        super().__init__(rdb, retrier)
        self._rdb = rdb
        self._finished: dict[int, FrozenTrial] = {}

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials of the study in these states (default all), without those that wait, by number."""
        wanted = [s for s in TrialState if s != TrialState.WAITING and (states is None or s in states)]
        trials = self.retrier(self._read, study_id, wanted)
        return copy.deepcopy(trials) if deepcopy else trials

    def _read(self, study_id: int, wanted: Sequence[TrialState]) -> list[FrozenTrial]:
        with _create_scoped_session(self._rdb.scoped_session) as session:
            query = session.query(Trial.trial_id).filter(Trial.study_id == study_id, Trial.state.in_(wanted))
            ids = [trial_id for (trial_id,) in query.order_by(Trial.trial_id)]
        missing = {trial_id for trial_id in ids if trial_id not in self._finished}
        read = {}
        if missing:
            for trial in self._rdb._get_trials(study_id, None, missing, _ABOVE_ALL_IDS):
                read[trial._trial_id] = trial
                if trial.state.is_finished():
                    self._finished[trial._trial_id] = trial
        trials = [self._finished.get(trial_id) or read[trial_id] for trial_id in ids]
        return [trial for trial in trials if trial.state in wanted]  # one may have finished between the two queries


def grace_period(rdb: RDBStorage) -> float | None:
    """Seconds without a beat after which a running trial counts as dead; None where nobody beats."""
    if rdb.heartbeat_interval is None:
        return None
    return rdb.grace_period if rdb.grace_period is not None else 2 * rdb.heartbeat_interval


def _is_stale(rdb: RDBStorage, session: Session, trial_id: int) -> bool:
    """Whether the grace period has passed since the last beat, or since the database was there to beat at.

    All by the database's own clock: the clocks of workers may disagree.
    """
    grace = grace_period(rdb)
    if grace is None:
        return False
    last = session.query(Heartbeat.heartbeat).filter_by(trial_id=trial_id).scalar()
    if last is None:  # claimed by something else than TicketQueue.claim, which beats in the same transaction
        return False
    now: datetime = session.execute(sa.select(_now(rdb))).scalar_one()
    up_since = datetime.min
    if rdb.engine.name == "postgresql":
        # While the server was down nobody could beat; after it is back, live workers need time to say so.
        started = sa.func.timezone("UTC", sa.func.pg_postmaster_start_time())
        up_since = session.execute(sa.select(started)).scalar_one()
    return bool(now - max(last, up_since) > timedelta(seconds=grace))


def _now(rdb: RDBStorage) -> sa.ColumnElement[Any]:
    """The database's clock in UTC, without time zone as in Optuna's column.

    Not the session's zone, which Optuna takes: it may differ between workers, and jumps when summer time begins.
    """
    if rdb.engine.name == "postgresql":
        return sa.func.timezone("UTC", sa.func.now())
    return sa.func.strftime("%Y-%m-%d %H:%M:%f000", "now", type_=sa.DateTime())  # its `now()` counts whole seconds


class _RdbTransaction:
    def __init__(self, rdb: RDBStorage, session: Session) -> None:
        self._rdb, self._session = rdb, session

    def lock(self, trial_id: int) -> LockedTrial:
        return _RdbTrial(self._rdb, self._session, Trial.find_or_raise_by_id(trial_id, self._session, for_update=True))

    def try_lock(self, trial_id: int) -> LockedTrial | None:
        found = self._session.query(Trial).filter_by(trial_id=trial_id)
        row = found.with_for_update(skip_locked=True).one_or_none()
        return None if row is None else _RdbTrial(self._rdb, self._session, row)

    def lock_next_waiting(self, study_id: int) -> LockedTrial | None:
        waiting = self._session.query(Trial).filter_by(study_id=study_id, state=TrialState.WAITING)
        # SKIP LOCKED: workers that claim at the same moment get different tickets without waiting for each other.
        row = waiting.order_by(Trial.number).limit(1).with_for_update(skip_locked=True).one_or_none()
        return None if row is None else _RdbTrial(self._rdb, self._session, row)

    def successor_of(self, study_id: int, number: int) -> int | None:
        query = self._session.query(Trial.number).join(SystemAttr, SystemAttr.trial_id == Trial.trial_id)
        found = query.filter(
            Trial.study_id == study_id, SystemAttr.key == RETRY_OF_ATTR, SystemAttr.value_json == json.dumps(number)
        )
        successor: int | None = found.limit(1).scalar()
        return successor

    def append(self, study_id: int, tickets: Sequence[Mapping[str, Any]]) -> int:
        self._lock_study(study_id)  # as Optuna does: the numbers are counted
        of_study = self._session.query(sa.func.count()).select_from(Trial).filter(Trial.study_id == study_id)
        first: int = of_study.scalar() or 0
        rows = [{"study_id": study_id, "number": first + i, "state": TrialState.WAITING} for i in range(len(tickets))]
        insert = sa.insert(Trial).returning(Trial.trial_id, sort_by_parameter_order=True)
        ids = self._session.execute(insert, rows).scalars().all()
        attrs = [
            {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
            for trial_id, ticket in zip(ids, tickets, strict=True)
            for key, value in ticket.items()
        ]
        self._session.execute(sa.insert(SystemAttr), attrs)
        return first

    def study_attrs(self, study_id: int) -> dict[str, Any]:
        self._lock_study(study_id)
        found = models.StudyUserAttributeModel.where_study_id(study_id, self._session)
        return {attribute.key: json.loads(attribute.value_json) for attribute in found}

    def set_study_attrs(self, study_id: int, attrs: Mapping[str, Any]) -> None:
        study = self._lock_study(study_id)
        for key, value in attrs.items():
            found = models.StudyUserAttributeModel.find_by_study_and_key(study, key, self._session)
            if found is None:
                found = models.StudyUserAttributeModel(study_id=study_id, key=key)
                self._session.add(found)
            found.value_json = json.dumps(value)

    def _lock_study(self, study_id: int) -> Any:
        return models.StudyModel.find_or_raise_by_id(study_id, self._session, for_update=True)


class _RdbTrial:
    def __init__(self, rdb: RDBStorage, session: Session, row: Any) -> None:
        self._rdb, self._session, self._row = rdb, session, row
        self.trial_id: int = row.trial_id
        self.number: int = row.number
        found = SystemAttr.where_trial_id(self.trial_id, session)
        self.system_attrs = {attribute.key: json.loads(attribute.value_json) for attribute in found}

    @property
    def state(self) -> TrialState:
        state: TrialState = self._row.state
        return state

    def params(self) -> dict[str, Any]:
        return dict(self._rdb._build_frozen_trial_from_trial_model(self._row).params)

    def reported(self) -> Sequence[int]:
        model = models.TrialIntermediateValueModel
        return [step for (step,) in self._session.query(model.step).filter_by(trial_id=self.trial_id)]

    def report(self, epoch: int, value: float) -> None:
        self._rdb._set_trial_intermediate_value_without_commit(self._session, self.trial_id, epoch, value)

    def set_system_attr(self, key: str, value: Any) -> None:
        self._rdb._set_trial_attr_without_commit(self._session, SystemAttr, self.trial_id, key, value)

    def set_user_attr(self, key: str, value: Any) -> None:
        model = models.TrialUserAttributeModel
        self._rdb._set_trial_attr_without_commit(self._session, model, self.trial_id, key, value)

    def beat(self) -> None:
        row = Heartbeat.where_trial_id(self.trial_id, self._session)
        if row is None:
            row = Heartbeat(trial_id=self.trial_id)
            self._session.add(row)
        row.heartbeat = _now(self._rdb)

    def is_stale(self) -> bool:
        return _is_stale(self._rdb, self._session, self.trial_id)

    def become(self, state: TrialState, value: float | None = None) -> None:
        if value is not None:
            self._rdb._set_trial_value_without_commit(self._session, self._row, 0, value)
        self._row.state = state
        # The columns, in UTC, and by the database: the clocks of two workers may disagree.
        if state == TrialState.WAITING:
            self._row._datetime_start_utc = None
        elif state == TrialState.RUNNING:
            self._row._datetime_start_utc = _now(self._rdb)
        else:
            self._row._datetime_complete_utc = _now(self._rdb)
