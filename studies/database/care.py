"""What an operator needs to know and do about the tables as a whole: who uses them, of which version they are, upgrade.

Everything here works on tables of an older Optuna too, which `open_storage` refuses.
"""

import logging
import time
from dataclasses import dataclass

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage

from studies.database.engines import engine_options, unpooled_engine
from studies.database.locks import lock
from studies.database.retrying import Retrier
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, NotFound, StorageError

LEAVE_SECONDS = 5.0
"""How long those who are connected may take to leave. What a command before this one has closed, as of a script that
makes a backup and then upgrades, is there until the server's process for it has ended."""


@dataclass(frozen=True)
class Contents:
    """What a database holds.

    Attributes:
        schema: that of Optuna's tables; where there are none yet, the first of the role's search_path that exists. None
            if none of them does, and in SQLite.
        tables: names of all tables of that schema.
        version: of Optuna's tables; None if there are none.
        n_studies: how many studies are stored.
        connections: the server's processes for others who are connected to it; none in SQLite, where nobody can know.
        server: major version of the Postgres server; 0 in SQLite.
    """

    schema: str | None
    tables: frozenset[str]
    version: str | None
    n_studies: int
    connections: frozenset[int]
    server: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be lost with it: no tables, or those that `storage init` makes, without studies."""
        return self.n_studies == 0 and self.tables <= optuna_tables()


def optuna_tables() -> frozenset[str]:
    """The names of Optuna's tables."""
    from optuna.storages._rdb.models import BaseModel

    return frozenset(BaseModel.metadata.tables) | {"alembic_version"}


def look(url: StorageUrl, retrier: Retrier) -> Contents:
    """What the database holds, and who else uses it.

    Raises:
        StorageError: it cannot be reached.
    """
    return retrier(_look, url)


_SCHEMA = sa.text("""
    SELECT coalesce(
        (SELECT nspname FROM pg_namespace JOIN pg_class ON relnamespace = pg_namespace.oid
            WHERE pg_class.oid = to_regclass('alembic_version')),
        current_schema()
    )
""")


def _look(url: StorageUrl) -> Contents:
    with unpooled_engine(url).connect() as connection:
        schema = None if url.kind == "sqlite" else connection.scalar(_SCHEMA)
        tables = frozenset(sa.inspect(connection).get_table_names(schema))
        version, n_studies = None, 0
        if "alembic_version" in tables:
            version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        if "studies" in tables:
            n_studies = connection.scalar(sa.text("SELECT count(*) FROM studies")) or 0
        if url.kind == "sqlite":
            return Contents(None, tables, version, n_studies, frozenset(), 0)
        # Whoever is not allowed to see what others do still sees that they are connected, and as whom.
        others = "datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL"
        connections = frozenset(connection.scalars(sa.text(f"SELECT pid FROM pg_stat_activity WHERE {others}")))
        server = connection.scalar(sa.text("SELECT current_setting('server_version_num')::int / 10000"))
        return Contents(schema, tables, version, n_studies, connections, server or 0)


def refuse_while_in_use(url: StorageUrl, found: Contents, what: str, retrier: Retrier) -> None:
    """Refuse to change the tables under the feet of workers.

    Raises:
        BadInput: others were connected to the database, and still are some seconds later.
        StorageError: it cannot be reached.
    """
    if found.connections and (left := retrier(_still_there, url, found.connections)):
        raise BadInput(
            f"{left} other {'connection uses' if left == 1 else 'connections use'} {url}; "
            f"stop all workers, dashboards and poolers before {what}."
        )


def _still_there(url: StorageUrl, pids: frozenset[int]) -> int:
    """How many of these connections are there after LEAVE_SECONDS; sooner if there is none."""
    asked = sa.text("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(:pids)")
    deadline = time.monotonic() + LEAVE_SECONDS
    with unpooled_engine(url).connect() as connection:
        while (left := connection.scalar(asked, {"pids": sorted(pids)}) or 0) and time.monotonic() < deadline:
            connection.rollback()  # a transaction sees one state of it
            time.sleep(0.05)
    return left


def upgrade(url: StorageUrl, retrier: Retrier) -> tuple[str, str]:
    """Bring Optuna's tables to the version that the Optuna installed here uses, in one transaction on Postgres.

    Returns:
        The version before and after; the same if there was nothing to do.

    Raises:
        NotFound: the database has no tables.
        BadInput: others are connected to it.
        StorageError: the tables are of a newer version, or the migration failed.
    """
    found = look(url, retrier)
    if found.version is None:
        raise NotFound(f"{url} holds no tables yet; `rigl-study storage init` creates them.")
    with lock(url, "create tables", retrier):  # as `open_storage`: nobody creates them meanwhile
        rdb = _open_any_version(url)
        try:
            head = rdb.get_head_version()
            if found.version == head:
                return head, head
            if found.version not in rdb.get_all_versions():
                raise StorageError(
                    f"the tables in {url} have version {found.version}, which Optuna {optuna.__version__} installed "
                    "here does not know; install the newer Optuna that set them up."
                )
            refuse_while_in_use(url, found, "an upgrade", retrier)
            _migrate(rdb, url)
            return found.version, head
        finally:
            rdb.engine.dispose()


def _open_any_version(url: StorageUrl) -> RDBStorage:
    # Optuna fills {placeholders} in the URL. A migration may go through all that is stored: no limit for an answer.
    text = url.secret().replace("{", "{{").replace("}", "}}")
    return RDBStorage(
        text, engine_options(url, answer_limit=None), skip_compatibility_check=True, skip_table_creation=True
    )


def _migrate(rdb: RDBStorage, url: StorageUrl) -> None:
    # Where the root logger has no handler, Optuna's migration sets up logging anew and silences all other loggers.
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        rdb.upgrade()
    except Exception as error:  # a migration runs whatever SQL it needs
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise StorageError(f"the tables in {url} could not be upgraded: {reason}") from error
    finally:
        logging.getLogger().removeHandler(handler)
