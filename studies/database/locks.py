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
def exclusive(storage: BaseStorage, key: str, *, wait: bool = True) -> Iterator[bool]:
    """Let one process (and one thread of it) at a time into the body. Not reentrant, and not to be nested.

    The lock goes with the process that holds it, however that dies. If the database goes away while it is held, it is
    lost too: what happens in the body must still be harmless, if wasteful, when two do it.

    Arguments:
        storage: what `open_storage` returned.
        key: what is locked; different keys do not exclude each other (in SQLite they do).
        wait: wait until the lock is free. Otherwise the body runs at once, told whether the lock is held.

    Yields:
        Whether the lock is held; always True with `wait`.

    Raises:
        StorageError: the database cannot be reached, or `should_stop` ended the wait.
    """
    if isinstance(storage, RetryingStorage):
        with lock(storage.url, key, storage.retrier, wait=wait) as held:
            yield held
    elif isinstance(storage, InMemoryStorage):
        with _thread_locked(f"{id(storage)} {key}", wait=wait) as held:
            yield held
    else:
        raise TypeError(f"not a storage of open_storage: {type(storage).__name__}")


@contextlib.contextmanager
def lock(url: StorageUrl, key: str, retrier: Retrier, *, wait: bool = True) -> Iterator[bool]:
    """`exclusive` for a database that is not open as a storage yet."""
    if url.kind == "sqlite":
        with _sqlite_locked(url, retrier, wait=wait) as held:
            yield held
    else:
        with _postgres_locked(url, key, retrier, wait=wait) as held:
            yield held


@contextlib.contextmanager
def _postgres_locked(url: StorageUrl, key: str, retrier: Retrier, *, wait: bool) -> Iterator[bool]:
    """An advisory lock of a transaction that does nothing else; it works through a transaction-pooling proxy too."""
    number = int.from_bytes(hashlib.sha256(f"rigl-study {key}".encode()).digest()[:8], "big", signed=True)
    # What the server, its operator or (behind a proxy) another client has set must not end a transaction that waits.
    for_ever = sa.func.set_config("idle_in_transaction_session_timeout", "0", True)
    ask = sa.select(sa.func.pg_try_advisory_xact_lock(number), for_ever)
    engine = unpooled_engine(url)

    def acquire() -> tuple[sa.Connection, bool]:
        connection = engine.connect()
        try:
            # Asking again and again, because a signal cannot interrupt a statement that waits.
            while not (held := connection.scalar(ask)) and wait:
                # In no transaction meanwhile: behind a proxy that pools by transaction, those who wait would take up
                # the very connections that the one who holds the lock needs to get done.
                connection.rollback()
                retrier.pause(random.uniform(0.02, 0.2))
        except BaseException:
            connection.close()
            raise
        return connection, bool(held)

    connection, held = retrier(acquire)
    try:
        yield held
    finally:
        try:
            connection.rollback()
        except sa.exc.DBAPIError as error:
            logger.warning("the connection that held the lock %r was lost: %s", key, first_line(error))
        connection.close()


@contextlib.contextmanager
def _sqlite_locked(url: StorageUrl, retrier: Retrier, *, wait: bool) -> Iterator[bool]:
    assert url.path is not None
    path = url.path.with_name(url.path.name + ".lock")
    while True:
        with contextlib.ExitStack() as kept:
            try:
                held = kept.enter_context(try_locked(path))
            except OSError as error:
                reason = error.strerror or error
                raise StorageError(f"the database {url} cannot be changed: {path}: {reason}.") from error
            if held or not wait:
                yield held
                return
        retrier.pause(random.uniform(0.02, 0.1))


@contextlib.contextmanager
def _thread_locked(name: str, *, wait: bool) -> Iterator[bool]:
    with _thread_locks_guard:
        thread_lock = _thread_locks.setdefault(name, threading.Lock())
    held = thread_lock.acquire(blocking=wait)
    try:
        yield held
    finally:
        if held:
            thread_lock.release()
