"""A limit on how long a Postgres server may leave a statement without an answer.

A server, proxy or pooler that hangs goes on confirming what it receives, so that no limit of TCP ever ends the wait for
its answer, and the driver waits in C, where nothing reaches it. So a thread of this process looks at all connections,
and shuts down those whose answer is overdue. To the driver this is a lost connection, and a statement that failed so is
tried again like any other (`studies.database.retrying`). A server that is still sending is never cut off.

To connect has a limit of its own, libpq's `connect_timeout`.
"""

import contextlib
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg2
import sqlalchemy as sa
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

ANSWER_SECONDS = 30.0
"""As the grace period: a worker without an answer for longer may have lost its trial."""

LONG_SECONDS = 300.0
"""The same for statements that go through all trials of a study, see `unhurried`."""

LAST_WORDS_SECONDS = 2.0
"""The same for a process that is to stop and has waited for the database long enough."""

_LOOK_SECONDS = 0.5
_BYTES_RECEIVED = struct.Struct("=128xQ")  # of Linux's struct tcp_info


@dataclass
class _Wait:
    """A statement that is not answered yet.

    Attributes:
        since: when it was sent, or the last time that something arrived.
        received: how many bytes had arrived by then.
        cut: for how many seconds nothing had arrived when the connection was shut down; 0 if it was not.
    """

    since: float
    received: int | None = None
    cut: float = 0.0


class WatchedConnection(Connection):  # type: ignore[misc]  # psycopg2 has no types
    """A connection of psycopg2 that is lost when a statement, a commit or a rollback is not answered in time.

    Arguments:
        dsn: see psycopg2.
        limit: seconds without an answer; None waits for ever.
        should_stop: when it says True, LAST_WORDS_SECONDS is the limit.
    """

    def __init__(
        self, dsn: str, *arguments: Any, limit: float | None, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.limit = limit
        self._should_stop = should_stop
        self._wait: _Wait | None = None
        _watch(self)
        with self.answering():  # psycopg2 sends a statement or two of its own
            super().__init__(dsn, *arguments)
        self.cursor_factory = _WatchedCursor

    def commit(self) -> None:
        """See psycopg2."""
        with self.answering():
            super().commit()

    def rollback(self) -> None:
        """See psycopg2."""
        with self.answering():
            super().rollback()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """What is done in the body waits for the server."""
        wait = self._wait = _Wait(time.monotonic())
        try:
            yield
        except psycopg2.Error as error:
            if not wait.cut:
                raise
            self.close()
            told = f"connected, but no answer for {wait.cut:.0f} s"
            raise psycopg2.OperationalError(told) from error
        finally:
            self._wait = None

    def look(self) -> None:
        """Shut the connection down if its answer is overdue. For another thread."""
        wait = self._wait
        if wait is None or self.limit is None:
            return
        try:
            ours = _Borrowed(self.fileno())
        except (OSError, ValueError, psycopg2.Error):  # it is closed already, or not open yet
            return
        with contextlib.closing(ours):
            now, received = time.monotonic(), _received(ours)
            if received != wait.received:
                wait.since, wait.received = now, received
            overdue = now - wait.since
            limit = min(self.limit, LAST_WORDS_SECONDS) if self._should_stop() else self.limit
            if overdue > limit and self._wait is wait:
                wait.cut = overdue
                with contextlib.suppress(OSError):  # the other end was quicker
                    ours.shutdown(socket.SHUT_RDWR)


class _WatchedCursor(Cursor):  # type: ignore[misc]
    def execute(self, query: Any, vars: Any = None) -> None:
        with self._answering():
            super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        with self._answering():
            super().executemany(query, vars_list)

    def _answering(self) -> contextlib.AbstractContextManager[None]:
        watched: WatchedConnection = self.connection
        return watched.answering()


class _Borrowed(socket.socket):
    """A connection's socket, which stays the connection's: to close this closes nothing."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(fileno=descriptor)

    def close(self) -> None:
        self.detach()


def _received(ours: socket.socket) -> int | None:
    """How many bytes have arrived so far; None where the system does not tell."""
    try:
        told = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
        (received,) = _BYTES_RECEIVED.unpack(told)
    except (AttributeError, OSError, struct.error):  # no Linux, an older one, or a Unix socket
        return None
    return int(received)


@contextlib.contextmanager
def unhurried(connection: sa.Connection) -> Iterator[None]:
    """Give a server that goes through all trials of a study more time for each answer, LONG_SECONDS, in the body."""
    driver = connection.connection.dbapi_connection
    if not isinstance(driver, WatchedConnection) or driver.limit is None:
        yield
        return
    before, driver.limit = driver.limit, max(driver.limit, LONG_SECONDS)
    try:
        yield
    finally:
        driver.limit = before


_watched: "weakref.WeakSet[WatchedConnection]" = weakref.WeakSet()
_guard = threading.Lock()
_watcher: threading.Thread | None = None


def _watch(connection: WatchedConnection) -> None:
    global _watcher
    with _guard:
        _watched.add(connection)
        if _watcher is None or not _watcher.is_alive():  # the first one, or the first after a fork
            _watcher = threading.Thread(target=_look_on, name="answers of the database", daemon=True)
            _watcher.start()


def _look_on() -> None:
    pause = threading.Event()  # time.sleep fails where libfaketime sets the clock
    while True:
        with _guard:
            connections = list(_watched)
        for connection in connections:
            connection.look()
        limits = [connection.limit for connection in connections if connection.limit is not None]
        del connections
        pause.wait(min([_LOOK_SECONDS, *(limit / 4 for limit in limits)]))
