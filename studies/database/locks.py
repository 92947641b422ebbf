"""Mutual exclusion between all processes that use one storage, wherever they run."""

import contextlib
import hashlib
import logging
import random
import threading
from collections.abc import Iterator

import sqlalchemy as sa
from optuna.storages import BaseStorage, InMemoryStorage

from studies.database.engines import unpooled_engine
from studies.database.file_locks import try_locked
from studies.database.retrying import Retrier, first_line
from studies.database.retrying_storage import RetryingStorage
from studies.database.storage_url import StorageUrl
from studies.errors import StorageError

logger = logging.getLogger("rigl_study.storage")

_thread_locks: dict[str, threading.Lock] = {}
_thread_locks_guard = threading.Lock()


@contextlib.contextmanager
def exclusive(storage: BaseStorage, key: str) -> Iterator[None]:
    """Let one process (and one thread of it) at a time into the body, and wait for that. Not reentrant.

    The lock goes with the process that holds it, however that dies. If the database goes away while it is held, it is
    lost too: what happens in the body must still be harmless, if wasteful, when two do it.

    Arguments:
        storage: what `open_storage` returned.
        key: what is locked; different keys do not exclude each other (in SQLite they do, so do not nest them).

    Raises:
        StorageError: the database cannot be reached, or `should_stop` ended the wait.
    """
    if isinstance(storage, RetryingStorage):
        with lock(storage.url, key, storage.retrier):
            yield
    elif isinstance(storage, InMemoryStorage):
        with _thread_lock(f"{id(storage)} {key}"):
            yield
    else:
        raise TypeError(f"not a storage of open_storage: {type(storage).__name__}")


@contextlib.contextmanager
def lock(url: StorageUrl, key: str, retrier: Retrier) -> Iterator[None]:
    """`exclusive` for a database that is not open as a storage yet."""
    with _sqlite_locked(url, retrier) if url.kind == "sqlite" else _postgres_locked(url, key, retrier):
        yield


@contextlib.contextmanager
def _postgres_locked(url: StorageUrl, key: str, retrier: Retrier) -> Iterator[None]:
    """An advisory lock of a transaction that does nothing else; it works through a transaction-pooling proxy too."""
    number = int.from_bytes(hashlib.sha256(f"rigl-study {key}".encode()).digest()[:8], "big", signed=True)
    # What the server, its operator or (behind a proxy) another client has set must not end a transaction that waits.
    for_ever = sa.func.set_config("idle_in_transaction_session_timeout", "0", True)
    ask = sa.select(sa.func.pg_try_advisory_xact_lock(number), for_ever)
    engine = unpooled_engine(url)

    def acquire() -> sa.Connection:
        connection = engine.connect()
        try:
            # Asking again and again, because a signal cannot interrupt a statement that waits.
            while not connection.scalar(ask):
                # In no transaction meanwhile: behind a proxy that pools by transaction, those who wait would take up
                # the very connections that the one who holds the lock needs to get done.
                connection.rollback()
                retrier.pause(random.uniform(0.02, 0.2))
        except BaseException:
            connection.close()
            raise
        return connection

    connection = retrier(acquire)
    try:
        yield
    finally:
        try:
            connection.rollback()
        except sa.exc.DBAPIError as error:
            logger.warning("the connection that held the lock %r was lost: %s", key, first_line(error))
        connection.close()


@contextlib.contextmanager
def _sqlite_locked(url: StorageUrl, retrier: Retrier) -> Iterator[None]:
    assert url.path is not None
    path = url.path.with_name(url.path.name + ".lock")
    while True:
        with contextlib.ExitStack() as kept:
            try:
                held = kept.enter_context(try_locked(path))
            except OSError as error:
                reason = error.strerror or error
                raise StorageError(f"the database {url} cannot be changed: {path}: {reason}.") from error
            if held:
                yield
                return
        retrier.pause(random.uniform(0.02, 0.1))


def _thread_lock(name: str) -> threading.Lock:
    with _thread_locks_guard:
        return _thread_locks.setdefault(name, threading.Lock())
