"""A study leaves the database with all its trials in a few statements, however many trials it has.

Optuna would read every row as an object first, a statement for each trial and table: minutes and gigabytes for ten
thousand trials of 250 epochs.
"""

from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb import models as optuna_models

from studies.database import trial_tables as tables
from studies.database.answers import unhurried
from studies.database.trial_tables import STUDIES, STUDY_ID, TRIALS

_models: Any = optuna_models
_OF_STUDY = TRIALS.c.study_id == STUDY_ID
_TRIAL_IDS = sa.select(TRIALS.c.trial_id).where(_OF_STUDY)
_LOCK_TRIALS = _TRIAL_IDS.order_by(TRIALS.c.trial_id).with_for_update()


def _refers_to(table: sa.Table, other: sa.Table) -> bool:
    return any(key.column.table is other for key in table.foreign_keys)


def _statements() -> list[sa.Delete]:
    """Whatever refers to a row goes before it; read off Optuna's tables, of which a new version may have more."""
    found = []
    for table in reversed(_models.BaseModel.metadata.sorted_tables):
        if _refers_to(table, TRIALS):
            found.append(sa.delete(table).where(table.c.trial_id.in_(_TRIAL_IDS)))
        elif table is STUDIES or _refers_to(table, STUDIES):
            found.append(sa.delete(table).where(table.c.study_id == STUDY_ID))
    return found


_DELETE = _statements()


def delete_study(connection: sa.Connection, study_id: int) -> None:
    """Delete a study and all that belongs to it, once nobody else is changing one of its trials.

    Raises:
        KeyError: there is no such study (any more).
    """
    where = {"study_id_": study_id}
    # In the order of the queue's own steps, a trial and then its study; and again, as trials may have been added
    # until the study was locked.
    connection.execute(_LOCK_TRIALS, where).all()
    if connection.scalar(tables.LOCK_STUDY, where) is None:
        raise KeyError(study_id)
    connection.execute(_LOCK_TRIALS, where).all()
    with unhurried(connection):
        for statement in _DELETE:
            connection.execute(statement, where)
