"""The front desk to the database: which one, open it, wait for it.

What `open_storage` returns is an Optuna storage whose every call rides out an outage; see
`studies.database.retrying_storage`.
"""

import warnings
from collections.abc import Callable
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage

from studies.database.embedded import EmbeddedPostgres
from studies.database.engines import (
    engine_options,
    engine_url,
    lead_connections,
    settle_sessions,
    unpooled_engine,
)
from studies.database.locks import exclusive, lock
from studies.database.resolving import resolve_storage
from studies.database.retrying import Retrier, mark_unknown_commits
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, NotFound, StorageError

__all__ = [
    "StorageUrl",
    "close_storage",
    "exclusive",
    "open_read_only",
    "open_storage",
    "resolve_storage",
    "wait_until_reachable",
]

HEARTBEAT_SECONDS = 10
GRACE_SECONDS = 30


def open_storage(
    url: StorageUrl,
    *,
    heartbeat_interval: int = HEARTBEAT_SECONDS,
    grace_period: int = GRACE_SECONDS,
    patience: float | None = None,
    answer_limit: float | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> BaseStorage:
    """Open the database for Optuna, creating its tables when it is empty (one process does, the others wait).

    Arguments:
        url: which database. `memory://` gives a new, empty storage each time, without heartbeats.
        heartbeat_interval: seconds between a running trial's signs of life.
        grace_period: seconds of silence after which a running trial counts as stale.
        patience: seconds a call waits for a database that is away; `None` reads `RIGL_STUDY_PATIENCE` (default 300).
        answer_limit: seconds after which a server that does not answer a statement counts as away; `None` is the grace
            period.
        should_stop: ends such waits early with StorageError when it returns True; for signal handlers.

    Raises:
        BadInput: a period that is not positive.
        StorageError: the database cannot be reached in time, refuses, or has tables of another Optuna version.
    """
    if not 0 < heartbeat_interval < grace_period:
        raise BadInput(
            f"heartbeat_interval is {heartbeat_interval} s and grace_period {grace_period} s; "
            "the first must be positive and shorter than the second."
        )
    # What goes wrong comes as an exception; Optuna's log would tell it again, with SQL.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if url.kind == "memory":
        return InMemoryStorage()
    if url.embedded_home is not None:  # which may have moved to another port since
        url = EmbeddedPostgres(url.embedded_home).ensure_running()
    retrier = Retrier(url, patience=patience, should_stop=should_stop)
    if not retrier(_has_tables, url):
        with lock(url, "create tables", retrier):
            if not retrier(_has_tables, url):
                retrier(_open_rdb, url, engine_options(url), create_tables=True).engine.dispose()
    limit = float(grace_period) if answer_limit is None else answer_limit
    options = engine_options(url, answer_limit=limit, should_stop=should_stop or (lambda: False))
    rdb = retrier(_open_rdb, url, options, heartbeat_interval=heartbeat_interval, grace_period=grace_period)
    return RetryingStorage(rdb, retrier)


def open_read_only(url: StorageUrl, *, patience: float | None = None) -> BaseStorage:
    """The database to look at what some other program stored: nothing is created, changed or upgraded.

    Arguments:
        url: which database.
        patience: seconds a call waits for a database that is away; `None` reads `RIGL_STUDY_PATIENCE` (default 300).

    Raises:
        NotFound: Optuna has no tables there.
        StorageError: it does not answer, or its tables are of another version.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if url.embedded_home is not None:
        url = EmbeddedPostgres(url.embedded_home).ensure_running()
    retrier = Retrier(url, patience=patience)
    if not retrier(_has_tables, url, read_only=True):
        raise NotFound(f"{url} holds no Optuna studies.")
    return RetryingStorage(retrier(_open_rdb, url, engine_options(url), read_only=True), retrier)


def close_storage(storage: BaseStorage) -> None:
    """Close the connections of a storage that is not needed any more. It opens new ones if it is used again."""
    if isinstance(storage, RetryingStorage):
        storage.close()


def wait_until_reachable(url: StorageUrl, timeout: float) -> None:
    """Return as soon as the database answers a query.

    Arguments:
        url: which database.
        timeout: seconds to wait.

    Raises:
        StorageError: it did not answer in time, or refuses for good (wrong password, no such database).
    """
    if url.kind != "memory":
        Retrier(url, patience=timeout)(_ping, url)


def _ping(url: StorageUrl) -> None:
    with unpooled_engine(url).connect() as connection:
        connection.execute(sa.select(1))


def _has_tables(url: StorageUrl, *, read_only: bool = False) -> bool:
    """Whether creation was completed: the schema's version is what Optuna writes last."""
    with unpooled_engine(url, read_only=read_only).connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return False
        return connection.execute(sa.text("SELECT 1 FROM alembic_version")).first() is not None


def _open_rdb(
    url: StorageUrl,
    options: dict[str, Any],
    *,
    create_tables: bool = False,
    heartbeat_interval: int | None = None,
    grace_period: int | None = None,
    read_only: bool = False,
) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats; they are why Optuna is pinned below 6
        rdb = RDBStorage(
            # Optuna fills {placeholders} in the URL.
            engine_url(url, read_only=read_only).replace("{", "{{").replace("}", "}}"),
            options,
            heartbeat_interval=heartbeat_interval,
            grace_period=grace_period,
            skip_table_creation=not create_tables,
            # Optuna's check asks on a second connection in the middle of a transaction on the first. Of many workers
            # that start at once behind a proxy with few connections, each would wait for another's.
            skip_compatibility_check=True,
        )
    found = rdb.get_current_version()
    if found != rdb.get_head_version():
        raise StorageError(_wrong_version(url, is_older=found in rdb.get_all_versions()))
    # RDBStorage has connected already; what it needed was checked or created before, and starts afresh from here.
    rdb.engine.dispose()
    lead_connections(rdb.engine, url, read_only=read_only)
    settle_sessions(rdb.engine)
    mark_unknown_commits(rdb.engine)
    return rdb


def _wrong_version(url: StorageUrl, *, is_older: bool) -> str:
    if is_older:
        advice = "Stop all workers, make a backup (`rigl-study storage backup FILE`), run `rigl-study storage upgrade`"
    else:
        advice = "Install the newer Optuna that set it up"
    return (
        f"the tables in {url} are of another Optuna version than the {optuna.__version__} installed here. "
        f"{advice}, or use another database."
    )
