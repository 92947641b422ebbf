"""One row a study, read with a handful of statements however many trials there are, and without loading Optuna.

This module knows Optuna's tables by name; tests compare it with what Optuna itself reads.
"""

import json
from collections import defaultdict
from typing import Any

import sqlalchemy as sa

from studies.database.engines import unpooled_engine
from studies.database.retrying import Retrier
from studies.database.storage_url import StorageUrl
from studies.database.transactions import RETRY_OF_ATTR, Counts
from studies.overview import StudyRow

_KNOWN_VERSION = "v3.2.0.a"
"""Of Optuna's tables. Others are left to `open_storage`, which creates, takes or refuses them."""

_ATTRIBUTES = """
SELECT studies.study_id, study_name, key, value_json
FROM studies JOIN study_user_attributes USING (study_id) ORDER BY studies.study_id
"""
_STATES = "SELECT study_id, state, count(*) FROM trials GROUP BY study_id, state"
_BEST = """
SELECT study_id, max(value) FROM trials JOIN trial_values USING (trial_id) WHERE state = 'COMPLETE' GROUP BY study_id
"""
_RETRIED = """
SELECT successor.study_id, count(*)
FROM trial_system_attributes AS attribute
JOIN trials AS successor ON successor.trial_id = attribute.trial_id
JOIN trials AS failed
    ON failed.study_id = successor.study_id AND failed.number = CAST(attribute.value_json AS integer)
WHERE attribute.key = :key AND failed.state = 'FAIL' GROUP BY successor.study_id
"""


def read_studies(url: StorageUrl, patience: float) -> list[StudyRow]:
    """Every stored study, in the order of creation.

    Arguments:
        url: the database; its tables are created if it has none.
        patience: seconds to wait for one that is away.

    Raises:
        StorageError: the database cannot be reached in time, refuses, or has tables of another Optuna version.
    """
    retrier = Retrier(url, patience=patience)
    if retrier(_version, url) != _KNOWN_VERSION:
        from studies.storage import close_storage, open_storage

        close_storage(open_storage(url, patience=patience))
    return retrier(_read, url)


def _version(url: StorageUrl) -> str | None:
    with unpooled_engine(url).connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        version: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return version


def _read(url: StorageUrl) -> list[StudyRow]:
    with unpooled_engine(url).connect() as connection:
        if url.kind == "postgresql":  # all as of one moment, as SQLite reads anyway: a study may be deleted meanwhile
            connection.execution_options(isolation_level="REPEATABLE READ")
        names: dict[int, str] = {}
        attrs: dict[int, dict[str, Any]] = defaultdict(dict)
        for study_id, name, key, value in connection.execute(sa.text(_ATTRIBUTES)):
            names[study_id] = name
            attrs[study_id][key] = json.loads(value)
        states: dict[int, dict[str, int]] = defaultdict(dict)
        for study_id, state, count in connection.execute(sa.text(_STATES)):
            states[study_id][state] = count
        best = _pairs(connection.execute(sa.text(_BEST)))
        retried = _pairs(connection.execute(sa.text(_RETRIED), {"key": RETRY_OF_ATTR}))
    return [
        StudyRow(name, attrs[i], Counts.of(states[i], retried=retried.get(i, 0), best=best.get(i)))
        for i, name in names.items()
    ]


def _pairs(result: Any) -> dict[int, Any]:
    return dict(result.all())
