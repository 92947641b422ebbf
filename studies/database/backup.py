"""The whole database in one file, and back: by Postgres's own programs, or by SQLite's own backup."""

import contextlib
import re
import sqlite3
import stat
from pathlib import Path

from studies.database.care import Contents, look, refuse_while_in_use
from studies.database.locks import lock
from studies.database.postgres_tools import run_tool
from studies.database.retrying import Retrier
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, NotFound, StorageError
from studies.whole_file import replacing

_BEGINNINGS = {"postgresql": b"PGDMP", "sqlite": b"SQLite format 3\0"}
_NAMES = {"postgresql": "Postgres", "sqlite": "SQLite"}


def backup(url: StorageUrl, file: Path, retrier: Retrier) -> None:
    """Write all studies, as of one moment, to a file that only its owner can read. Workers may go on.

    Of Postgres that is the schema in which Optuna's tables are.

    Arguments:
        url: the database.
        file: the file. It is there whole or not at all; an older backup of that name is replaced.
        retrier: rides out an outage before it begins.

    Raises:
        BadInput: the file cannot be written, or is there and no backup.
        NotFound: the database has no tables.
        StorageError: the database cannot be reached, or `pg_dump` is missing or failed.
    """
    _refuse_foreign(file)
    found = look(url, retrier)
    if found.version is None:
        raise NotFound(f"{url} holds no tables, so there is nothing to back up.")
    try:
        with replacing(file) as new:
            if url.kind == "sqlite":
                assert url.path is not None
                _copy_sqlite(url.path, new)
            else:
                how = ["--format=custom", "--no-owner", "--no-acl", f"--schema={_exactly(found.schema)}"]
                run_tool("pg_dump", [*how, f"--file={new}"], url, found.server)
    except OSError as error:
        raise BadInput(f"cannot write the backup {file}: {error.strerror or error}.") from None


def restore(url: StorageUrl, file: Path, retrier: Retrier, *, replace: bool) -> Contents:
    """Fill the database with what a backup holds: completely or not at all.

    In Postgres the role needs the right to create tables in its schema, and no right to create schemas.

    Arguments:
        url: the database.
        file: what `backup` wrote.
        retrier: rides out an outage before it begins.
        replace: also if the database holds something, which is then lost.

    Returns:
        What it holds now.

    Raises:
        BadInput: the file is no backup, or of another kind of database or another schema; the database holds something
            or is in use.
        StorageError: the database cannot be reached, or `pg_restore` is missing or failed.
    """
    kind = _kind(file)
    if kind != url.kind:
        raise BadInput(f"{file} is a backup of {_NAMES[kind]}, and {url} is none; name a database of that kind.")
    if url.path is not None and not url.path.exists():
        _restore_sqlite(url.path, file)
        return look(url, retrier)
    found = look(url, retrier)
    if not found.is_empty and not replace:
        studies = "1 study" if found.n_studies == 1 else f"{found.n_studies} studies"
        holds = studies if found.n_studies else f"tables ({', '.join(sorted(found.tables))})"
        raise BadInput(f"{url} holds {holds}; restore into an empty database, or replace them for good with --replace.")
    schema = None if url.kind == "sqlite" else _schema_to_restore(url, file, found)
    refuse_while_in_use(url, found, "restoring", retrier)
    with lock(url, "create tables", retrier):  # as `open_storage`: nobody creates them meanwhile
        if url.path is not None:
            _restore_sqlite(url.path, file)
        else:
            # One transaction: whatever fails, all is as before. With --schema the schema itself is not created: that
            # takes a right on the whole database, which the role that made the backup need not have.
            how = ["--single-transaction", "--exit-on-error", "--clean", "--if-exists", "--no-owner", "--no-acl"]
            how += [f"--schema={schema}"]
            run_tool("pg_restore", [*how, file], url, found.server)
    return look(url, retrier)


def _exactly(schema: str | None) -> str:
    """The pattern of pg_dump that this schema alone matches."""
    return '"' + (schema or "").replace('"', '""') + '"'


def _schema_to_restore(url: StorageUrl, file: Path, found: Contents) -> str:
    """The schema of the backup's tables, in which those of the database must be, or would be made."""
    if found.schema is None:
        raise BadInput(f"no schema of the search_path of {url} is there; make it first, with CREATE SCHEMA.")
    listed = run_tool("pg_restore", ["--list", file], url, found.server, connect=False)
    # Names stand there as they are, whatever is in them.
    tables = re.findall(r"^\d+; \d+ \d+ TABLE (.*)$", listed, re.MULTILINE)
    if not any(table.startswith(f"{found.schema} alembic_version ") for table in tables):
        held = next((table.partition(" alembic_version ")[0] for table in tables if " alembic_version " in table), None)
        holds = "no studies" if held is None else f'the schema "{held}"'
        raise BadInput(
            f'{file} holds {holds}, and the tables of {url} belong in "{found.schema}"; restore it as a role whose '
            "search_path begins with the backup's schema."
        )
    return found.schema


def _kind(file: Path) -> str:
    beginning = _beginning(file)
    for kind, expected in _BEGINNINGS.items():
        if beginning.startswith(expected):
            return kind
    raise BadInput(f"{file} is no backup of rigl-study; name a file that `rigl-study storage backup` wrote.")


def _beginning(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(16)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise BadInput(f"cannot read the backup {file}: {getattr(error, 'strerror', None) or error}.") from None


def _refuse_foreign(file: Path) -> None:
    """A backup replaces an older one, and nothing else: a slip of the hand should not cost a study file."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise BadInput(f"cannot write the backup {file}: it is no regular file; name another.")
        if (beginning := _beginning(file)) and not any(map(beginning.startswith, _BEGINNINGS.values())):
            raise BadInput(f"{file} is there and is no backup; name another file.")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"cannot write the backup {file}: {reason}; name another.") from None
    if not file.absolute().parent.is_dir():
        raise BadInput(f"cannot write the backup {file}: there is no folder {file.absolute().parent}.")


def _restore_sqlite(path: Path, file: Path) -> None:
    if path.exists():
        _copy_sqlite(file, path)
        return
    try:
        with replacing(path) as new:
            _copy_sqlite(file, new)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}.") from None


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy in one transaction of the target, by which readers see the old content or the new."""
    try:
        with (
            contextlib.closing(sqlite3.connect(f"file:{_quoted(source)}?mode=ro", uri=True, timeout=30)) as reader,
            contextlib.closing(sqlite3.connect(target, timeout=30)) as writer,
        ):
            if (said := reader.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
                raise StorageError(f"{source} is damaged: {said}.")
            reader.backup(writer)
    except sqlite3.Error as error:
        raise StorageError(f"cannot copy {source} to {target}: {error}.") from None


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path.absolute()))
