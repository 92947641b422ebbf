"""How far a study is, counted by the database however many trials it has."""

import sqlalchemy as sa
from optuna.trial import TrialState

from studies.database.transactions import RETRY_OF_ATTR, Counts
from studies.database.trial_tables import STUDY_ID, SYSTEM_ATTRS, TRIALS, VALUES

_OF_STUDY = TRIALS.c.study_id == STUDY_ID
_STATES = sa.select(TRIALS.c.state, sa.func.count()).where(_OF_STUDY).group_by(TRIALS.c.state)
_FAILED, _SUCCESSOR = TRIALS.alias("failed"), TRIALS.alias("successor")
_RETRIED = (
    sa.select(sa.func.count())
    .select_from(SYSTEM_ATTRS)
    .join(_SUCCESSOR, _SUCCESSOR.c.trial_id == SYSTEM_ATTRS.c.trial_id)
    .join(
        _FAILED,
        (_FAILED.c.study_id == _SUCCESSOR.c.study_id)
        & (_FAILED.c.number == sa.cast(SYSTEM_ATTRS.c.value_json, sa.Integer)),
    )
    .where(SYSTEM_ATTRS.c.key == RETRY_OF_ATTR, _SUCCESSOR.c.study_id == STUDY_ID, _FAILED.c.state == TrialState.FAIL)
)
_BEST = (
    sa.select(sa.func.max(VALUES.c.value))
    .join(TRIALS, TRIALS.c.trial_id == VALUES.c.trial_id)
    .where(_OF_STUDY, TRIALS.c.state == TrialState.COMPLETE)
)


def count_trials(connection: sa.Connection, study_id: int) -> Counts:
    """The trials of a study by state, and the best value."""
    where = {"study_id_": study_id}
    return Counts.of(
        {state.name: n for state, n in connection.execute(_STATES, where)},
        retried=connection.scalar(_RETRIED, where) or 0,
        best=connection.scalar(_BEST, where),
    )
