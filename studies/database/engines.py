"""How connections to the database are made: time limits, liveness checks, and the way to an embedded server."""

import math
import os
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import NullPool

from studies.database.answers import ANSWER_SECONDS, WatchedConnection
from studies.database.embedded import EmbeddedPostgres
from studies.database.storage_url import StorageUrl

# One for reports and beats, which take turns (`studies.hold`), one for the other questions of a heartbeat. The training
# thread itself asks only when there is nothing to report. Many workers share one server's connection limit.
POOL_SIZE = 2

_POSTGRES_CONNECTION: dict[str, Any] = {
    "application_name": "rigl-study",
    "connect_timeout": 10,  # seconds
    # A network that swallows packets is noticed within about a minute, not after the two hours of the defaults.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
_SQLITE_CONNECTION = {
    "timeout": 30,  # seconds to wait for another process's transaction
    "isolation_level": None,  # `lead_connections` begins transactions itself
}


def engine_options(
    url: StorageUrl,
    *,
    answer_limit: float | None = ANSWER_SECONDS,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """The arguments of `sqlalchemy.create_engine` for `url`; what its query says goes before our defaults.

    Arguments:
        url: which database.
        answer_limit: seconds after which Postgres counts as away if it does not answer a statement; None for no limit.
        should_stop: when it says True, an answer is not waited for so long; see `studies.database.answers`.
    """
    options: dict[str, Any] = {"hide_parameters": True, "pool_size": POOL_SIZE, "max_overflow": 0}
    if url.kind == "sqlite":
        return {**options, "connect_args": dict(_SQLITE_CONNECTION)}
    given = sa.make_url(url.secret()).query
    connection = {name: value for name, value in _POSTGRES_CONNECTION.items() if name not in given}
    if answer_limit is not None and "connect_timeout" in connection:
        connection["connect_timeout"] = min(_POSTGRES_CONNECTION["connect_timeout"], max(2, math.ceil(answer_limit)))
    connection["connection_factory"] = partial(WatchedConnection, limit=answer_limit, should_stop=should_stop)
    # Whatever the server's default is: who has waited for a lock must see what its last holder did, or two trials get
    # one number.
    return {**options, "pool_pre_ping": True, "isolation_level": "READ COMMITTED", "connect_args": connection}


def _forbid_writing(connection: Any, _record: Any) -> None:
    if hasattr(connection, "set_session"):  # psycopg2's; SQLite's file was opened so
        connection.set_session(readonly=True)


FROZEN_SECONDS = 10
"""A process that stands still in the middle of a transaction (SIGSTOP, a machine put to sleep, a cable pulled) is cut
off by the server after so long. It holds locks that sweepers and claims of the living would wait for."""


_SETTINGS = """
SET idle_in_transaction_session_timeout = '{frozen}s';
SET extra_float_digits = 1;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""


def settle_sessions(engine: sa.Engine) -> None:
    """Make sessions of `engine` on Postgres independent of what the server's administrator has set.

    The server ends transactions that do nothing for FROZEN_SECONDS; whoever made one tries again. It tells numbers to
    their last bit, or a trial that is taken up again would differ from its checkpoint. It confirms only what is on
    disk, or a crash could undo a result whose checkpoint is gone by then.

    Not for connections that hold a lock by an open transaction (`studies.database.locks`).
    """

    def settle(connection: DBAPIConnection, _record: Any) -> None:
        # Not as startup parameters: connection poolers refuse those they do not know.
        with closing(connection.cursor()) as cursor:
            cursor.execute(_SETTINGS.format(frozen=FROZEN_SECONDS))
        connection.commit()

    if engine.name == "postgresql":
        sa.event.listen(engine, "connect", settle)


def lead_connections(engine: sa.Engine, url: StorageUrl, *, read_only: bool = False) -> None:
    """Make every connection of `engine` one that is right for `url`.

    To an embedded server: wherever it runs by now, and started again if it is gone. In SQLite, which locks no rows:
    whole transactions take turns, as between seeing that a ticket waits and claiming it nobody else may claim it.
    Where nothing may be written, Postgres is told so.
    """
    if read_only:
        sa.event.listen(engine, "connect", _forbid_writing)
    elif url.kind == "sqlite":
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    if url.embedded_home is not None:
        server = EmbeddedPostgres(url.embedded_home)

        def lead(_dialect: Any, _record: Any, _args: Any, parameters: dict[str, Any]) -> DBAPIConnection | None:
            parameters["port"] = sa.make_url(server.ensure_running().secret()).port
            return None

        sa.event.listen(engine, "do_connect", lead)


def unpooled_engine(url: StorageUrl, *, read_only: bool = False) -> sa.Engine:
    """An engine whose connections are closed as soon as they are given back: for locks and checks."""
    options = engine_options(url)
    options = {name: value for name, value in options.items() if not name.startswith("pool") and name != "max_overflow"}
    engine = sa.create_engine(engine_url(url, read_only=read_only), poolclass=NullPool, **options)
    lead_connections(engine, url, read_only=read_only)
    return engine


def engine_url(url: StorageUrl, *, read_only: bool) -> str:
    """What SQLAlchemy connects to, with the password in it; a SQLite file is opened for reading only where asked."""
    if read_only and url.path is not None:
        return f"sqlite:///file:{quote(os.fsencode(url.path.absolute()))}?mode=ro&uri=true"
    return url.secret()
