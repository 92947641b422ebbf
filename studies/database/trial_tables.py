"""Optuna's tables of trials as SQL, and the statements that the queue sends again and again.

Optuna's own classes for these tables read a trial object by object, a statement each, and cost a worker ten times the
computing. This module knows the tables by their columns; pyproject.toml pins the major version, and tests compare what
is written and read here with what Optuna reads. A statement is built once: SQLAlchemy recognises it and sends the text
it made the first time.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages._rdb import models as optuna_models
from optuna.trial import TrialState
from sqlalchemy.dialects import postgresql, sqlite

from studies.database.transactions import CONTROL_ATTR, IDENTITY_ATTR, SPEC_ATTR, Drawn

_models: Any = optuna_models

STUDIES: sa.Table = _models.StudyModel.__table__
STUDY_USER_ATTRS: sa.Table = _models.StudyUserAttributeModel.__table__
TRIALS: sa.Table = _models.TrialModel.__table__
SYSTEM_ATTRS: sa.Table = _models.TrialSystemAttributeModel.__table__
USER_ATTRS: sa.Table = _models.TrialUserAttributeModel.__table__
PARAMS: sa.Table = _models.TrialParamModel.__table__
VALUES: sa.Table = _models.TrialValueModel.__table__
REPORTS: sa.Table = _models.TrialIntermediateValueModel.__table__
BEATS: sa.Table = _models.TrialHeartbeatModel.__table__

ReportType = _models.TrialIntermediateValueModel.TrialIntermediateValueType

_DOUBLE = postgresql.DOUBLE_PRECISION
REPORTED_NUMBER = sa.case(
    (REPORTS.c.intermediate_value_type == ReportType.FINITE, REPORTS.c.intermediate_value),
    (REPORTS.c.intermediate_value_type == ReportType.INF_POS, sa.cast("Infinity", _DOUBLE)),
    (REPORTS.c.intermediate_value_type == ReportType.INF_NEG, sa.cast("-Infinity", _DOUBLE)),
    else_=sa.cast("NaN", _DOUBLE),
)
"""A row of REPORTS as the number that it stands for (`reported_value`), in Postgres."""

TRIAL_ID: sa.BindParameter[int] = sa.bindparam("trial_id_")
STUDY_ID: sa.BindParameter[int] = sa.bindparam("study_id_")
"""Placeholders of the statements below; the underscore keeps them apart from columns."""

_INSERT: Mapping[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


class Upsert:
    """Inserts rows, or overwrites those that have the same key.

    Arguments:
        table: where.
        key: the columns of a unique constraint.
        columns: the others.
    """

    def __init__(self, table: sa.Table, key: list[str], columns: list[str]) -> None:
        self._statements = {}
        for dialect, insert in _INSERT.items():
            statement = insert(table).values({name: sa.bindparam(name) for name in [*key, *columns]})
            set_ = {name: statement.excluded[name] for name in columns}
            self._statements[dialect] = statement.on_conflict_do_update(index_elements=key, set_=set_)

    def __call__(self, connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
        """Store these rows, in one statement where the driver can."""
        if rows:
            connection.execute(self._statements[connection.dialect.name], rows if len(rows) > 1 else rows[0])


put_system_attrs = Upsert(SYSTEM_ATTRS, ["trial_id", "key"], ["value_json"])
put_user_attrs = Upsert(USER_ATTRS, ["trial_id", "key"], ["value_json"])
put_study_attrs = Upsert(STUDY_USER_ATTRS, ["study_id", "key"], ["value_json"])
put_reports = Upsert(REPORTS, ["trial_id", "step"], ["intermediate_value", "intermediate_value_type"])
put_values = Upsert(VALUES, ["trial_id", "objective"], ["value", "value_type"])

NOW: Mapping[str, sa.ColumnElement[Any]] = {
    "postgresql": sa.func.timezone("UTC", sa.func.now()),
    "sqlite": sa.func.strftime("%Y-%m-%d %H:%M:%f000", "now", type_=sa.DateTime()),  # its `now()` counts whole seconds
}
"""The database's clock in UTC, without time zone as in Optuna's columns, by dialect.

Not the session's zone, which Optuna takes: it may differ between workers, and jumps when summer time begins.
"""

UP_SINCE: Mapping[str, sa.ColumnElement[Any]] = {
    "postgresql": sa.func.timezone("UTC", sa.func.pg_postmaster_start_time()),
    "sqlite": sa.literal(None, sa.DateTime()),
}
"""When the database's server was started, by that clock; never where there is no server."""


def _beat(dialect: str) -> Any:
    statement = _INSERT[dialect](BEATS).values({"trial_id": TRIAL_ID, "heartbeat": NOW[dialect]})
    return statement.on_conflict_do_update(
        index_elements=["trial_id"], set_={"heartbeat": statement.excluded.heartbeat}
    )


BEAT = {dialect: _beat(dialect) for dialect in _INSERT}

TRIAL_REPORTS = sa.select(REPORTS.c.step, REPORTS.c.intermediate_value, REPORTS.c.intermediate_value_type).where(
    REPORTS.c.trial_id == TRIAL_ID
)
TRIAL_PARAMS = (
    sa.select(PARAMS.c.param_name, PARAMS.c.param_value, PARAMS.c.distribution_json)
    .where(PARAMS.c.trial_id == TRIAL_ID)
    .order_by(PARAMS.c.param_id)
)
_ONE_TRIAL = sa.select(TRIALS.c.trial_id, TRIALS.c.study_id, TRIALS.c.number, TRIALS.c.state)
LOCK_TRIAL = _ONE_TRIAL.where(TRIALS.c.trial_id == TRIAL_ID).with_for_update()
LOCK_NUMBERED = _ONE_TRIAL.where(
    TRIALS.c.study_id == STUDY_ID, TRIALS.c.number == sa.bindparam("number_")
).with_for_update()
TRY_LOCK_TRIAL = _ONE_TRIAL.where(TRIALS.c.trial_id == TRIAL_ID).with_for_update(skip_locked=True)
# SKIP LOCKED: workers that claim at the same moment get different tickets without waiting for each other.
LOCK_NEXT_WAITING = (
    _ONE_TRIAL.where(TRIALS.c.study_id == STUDY_ID, TRIALS.c.state == TrialState.WAITING)
    .order_by(TRIALS.c.number)
    .limit(1)
    .with_for_update(skip_locked=True)
)
LOCK_STUDY = sa.select(STUDIES.c.study_id).where(STUDIES.c.study_id == STUDY_ID).with_for_update()
# A row at least if there is such a study, and in each one of these attributes.
GLANCE = (
    sa.select(STUDY_USER_ATTRS.c.key, STUDY_USER_ATTRS.c.value_json)
    .select_from(
        STUDIES.outerjoin(
            STUDY_USER_ATTRS,
            (STUDY_USER_ATTRS.c.study_id == STUDIES.c.study_id)
            & STUDY_USER_ATTRS.c.key.in_([CONTROL_ATTR, IDENTITY_ATTR, SPEC_ATTR]),
        )
    )
    .where(STUDIES.c.study_id == STUDY_ID)
)
# What every step looks at when it has locked a trial: its system attributes, and two attributes of its study.
TRIAL_AND_STUDY = sa.union_all(
    sa.select(SYSTEM_ATTRS.c.key, SYSTEM_ATTRS.c.value_json, sa.literal(False).label("of_study")).where(
        SYSTEM_ATTRS.c.trial_id == TRIAL_ID
    ),
    sa.select(STUDY_USER_ATTRS.c.key, STUDY_USER_ATTRS.c.value_json, sa.literal(True)).where(
        STUDY_USER_ATTRS.c.study_id == STUDY_ID, STUDY_USER_ATTRS.c.key.in_([CONTROL_ATTR, IDENTITY_ATTR])
    ),
)
STUDY_ATTRS = sa.select(STUDY_USER_ATTRS.c.key, STUDY_USER_ATTRS.c.value_json).where(
    STUDY_USER_ATTRS.c.study_id == STUDY_ID
)
NOTED = (
    sa.select(TRIALS.c.number, SYSTEM_ATTRS.c.value_json)
    .join(SYSTEM_ATTRS, SYSTEM_ATTRS.c.trial_id == TRIALS.c.trial_id)
    .where(TRIALS.c.study_id == STUDY_ID, TRIALS.c.trial_id != TRIAL_ID, SYSTEM_ATTRS.c.key == sa.bindparam("key_"))
)


def attr_rows(owner: str, owner_id: int, attrs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of an attribute table whose column `owner` says whose they are."""
    return [{owner: owner_id, "key": key, "value_json": json.dumps(value)} for key, value in attrs.items()]


def report_rows(trial_id: int, values: Mapping[int, float]) -> list[dict[str, Any]]:
    """Rows of REPORTS, by epoch. What is no finite number is stored by its kind, as Optuna does."""
    kinds = {math.inf: ReportType.INF_POS, -math.inf: ReportType.INF_NEG}
    rows = []
    for epoch, value in values.items():
        kind = ReportType.NAN if math.isnan(value) else kinds.get(value, ReportType.FINITE)
        stored = float(value) if kind == ReportType.FINITE else None
        rows.append(
            {"trial_id": trial_id, "step": epoch, "intermediate_value": stored, "intermediate_value_type": kind}
        )
    return rows


def reported_value(stored: float | None, kind: Any) -> float:
    """What `report_rows` stored, back."""
    return float(_models.TrialIntermediateValueModel.stored_repr_to_intermediate_value(stored, kind))


def value_row(trial_id: int, value: float) -> dict[str, Any]:
    """A row of VALUES: the objective of a finished trial."""
    stored, kind = _models.TrialValueModel.value_to_stored_repr(value)
    return {"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind}


def final_value(stored: float | None, kind: Any) -> float:
    """What `value_row` stored, back."""
    return float(_models.TrialValueModel.stored_repr_to_value(stored, kind))


def param_rows(trial_id: int, params: Mapping[str, Drawn]) -> list[dict[str, Any]]:
    """Rows of PARAMS."""
    return [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": drawn.internal,
            "distribution_json": distribution_to_json(drawn.distribution),
        }
        for name, drawn in params.items()
    ]


class Distributions:
    """Reads distributions; the same text, of which a study has one a parameter, only once."""

    def __init__(self) -> None:
        self._known: dict[str, BaseDistribution] = {}

    def __call__(self, text: str) -> BaseDistribution:
        """The distribution that `text` describes."""
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = json_to_distribution(text)
        return found


def params_by_trial(
    rows: Iterable[Any], distribution: Distributions
) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, BaseDistribution]]]:
    """Rows of PARAMS (trial, name, internal value, distribution): values as users see them, and distributions."""
    params: dict[int, dict[str, Any]] = defaultdict(dict)
    distributions: dict[int, dict[str, BaseDistribution]] = defaultdict(dict)
    for trial_id, name, internal, text in rows:
        drawn_from = distributions[trial_id][name] = distribution(text)
        params[trial_id][name] = drawn_from.to_external_repr(internal)
    return params, distributions


def attrs_by_trial(rows: Iterable[Any]) -> dict[int, dict[str, Any]]:
    """Rows of an attribute table (trial, key, JSON), by trial and key."""
    attrs: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, key, text in rows:
        attrs[trial_id][key] = json.loads(text)
    return attrs
