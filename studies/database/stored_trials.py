"""All trials of a study with everything that is stored of them, for reports: by columns, not object by object.

A report of ten thousand trials looks at millions of values. Optuna makes an object of each row and a dictionary of the
objects; here a table is one statement, and on Postgres all values that a trial reported are one row. What comes out is
what Optuna's `get_all_trials` gives.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from optuna.trial import FrozenTrial
from sqlalchemy.dialects import postgresql

from studies.database.answers import unhurried
from studies.database.trial_tables import (
    PARAMS,
    REPORTED_NUMBER,
    REPORTS,
    STUDY_ID,
    SYSTEM_ATTRS,
    TRIALS,
    USER_ATTRS,
    VALUES,
    Distributions,
    attrs_by_trial,
    final_value,
    params_by_trial,
    reported_value,
)


def _of_study(table: sa.Table, *columns: str) -> sa.Select[Any]:
    """These columns of the rows that belong to a study's trials, behind the trial's id, in the order of writing."""
    key = next(iter(table.primary_key.columns))
    return (
        sa.select(table.c.trial_id, *(table.c[name] for name in columns))
        .join(TRIALS, TRIALS.c.trial_id == table.c.trial_id)
        .where(TRIALS.c.study_id == STUDY_ID)
        .order_by(key)
    )


_TRIALS = (
    sa.select(TRIALS.c.trial_id, TRIALS.c.number, TRIALS.c.state, TRIALS.c.datetime_start, TRIALS.c.datetime_complete)
    .where(TRIALS.c.study_id == STUDY_ID)
    .order_by(TRIALS.c.number)
)
_VALUES = _of_study(VALUES, "objective", "value", "value_type")
_PARAMS = _of_study(PARAMS, "param_name", "param_value", "distribution_json")
_USER_ATTRS = _of_study(USER_ATTRS, "key", "value_json")
_SYSTEM_ATTRS = _of_study(SYSTEM_ATTRS, "key", "value_json")

_NOTHING = sa.cast(b"", postgresql.BYTEA)
_STEPS = sa.func.string_agg(sa.func.int4send(REPORTS.c.step), _NOTHING)
_NUMBERS = sa.func.string_agg(sa.func.float8send(REPORTED_NUMBER), _NOTHING)
_REPORTS: Mapping[str, sa.Select[Any]] = {
    # Four bytes a step and eight a value, as Postgres itself sends them: to the last bit what is stored.
    "postgresql": (
        sa.select(REPORTS.c.trial_id, _STEPS, _NUMBERS)
        .join(TRIALS, TRIALS.c.trial_id == REPORTS.c.trial_id)
        .where(TRIALS.c.study_id == STUDY_ID)
        .group_by(REPORTS.c.trial_id)
    ),
    "sqlite": _of_study(REPORTS, "step", "intermediate_value", "intermediate_value_type"),
}


@dataclass(frozen=True)
class StoredRows:
    """The rows of a study's trials, as they come from the database.

    Attributes:
        dialect: of the database, which decides what `reports` looks like.
        trials: id, number, state, start, end, by number.
        values, params, user_attrs, system_attrs, reports: what belongs to them, each behind the trial's id.
    """

    dialect: str
    trials: Sequence[Any]
    values: Sequence[Any]
    params: Sequence[Any]
    user_attrs: Sequence[Any]
    system_attrs: Sequence[Any]
    reports: Sequence[Any]


def fetch(connection: sa.Connection, study_id: int) -> StoredRows:
    """The rows, quickly: a transaction must not stay open while Python thinks."""
    dialect = connection.dialect.name
    # The trials first: what is finished by then has everything that belongs to it.
    statements = (_TRIALS, _VALUES, _PARAMS, _USER_ATTRS, _SYSTEM_ATTRS, _REPORTS[dialect])
    where = {"study_id_": study_id}
    with unhurried(connection):
        return StoredRows(dialect, *(connection.execute(statement, where).all() for statement in statements))


def trials_of(rows: StoredRows) -> list[FrozenTrial]:
    """The trials by number, as Optuna reads them."""
    values: dict[int, dict[int, float]] = defaultdict(dict)
    for trial_id, objective, stored, kind in rows.values:
        values[trial_id][objective] = final_value(stored, kind)
    params, distributions = params_by_trial(rows.params, Distributions())
    user_attrs, system_attrs = attrs_by_trial(rows.user_attrs), attrs_by_trial(rows.system_attrs)
    reports = _REPORTED[rows.dialect](rows.reports)
    return [
        FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=[values[trial_id][i] for i in sorted(values[trial_id])] or None,
            datetime_start=started,
            datetime_complete=finished,
            params=params[trial_id],
            distributions=distributions[trial_id],
            user_attrs=user_attrs[trial_id],
            system_attrs=system_attrs[trial_id],
            intermediate_values=reports[trial_id],
            trial_id=trial_id,
        )
        for trial_id, number, state, started, finished in rows.trials
    ]


def _packed_reports(rows: Sequence[Any]) -> dict[int, dict[int, float]]:
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for trial_id, steps, numbers in rows:
        found[trial_id] = dict(
            zip(np.frombuffer(steps, ">i4").tolist(), np.frombuffer(numbers, ">f8").tolist(), strict=True)
        )
    return found


def _single_reports(rows: Sequence[Any]) -> dict[int, dict[int, float]]:
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for trial_id, step, stored, kind in rows:
        found[trial_id][step] = reported_value(stored, kind)
    return found


_REPORTED = {"postgresql": _packed_reports, "sqlite": _single_reports}
