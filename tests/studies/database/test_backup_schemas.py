"""Backups by a role that has nothing but its own schema, on real servers of every version that the package brings."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
import sqlalchemy as sa

from studies.database import embedded_files
from studies.database.backup import backup, restore
from studies.database.embedded_files import package_directory
from studies.database.keeper import identity
from studies.database.retrying import Retrier
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, StorageError
from studies.storage import close_storage, open_storage

PASSWORD = "s3cr3t"


def _reachable_programs(version: str, folder: Path) -> Path:
    """The folder of the server's programs; a copy where the server's user cannot go."""
    package = package_directory()
    programs = package / version / "bin"
    if os.geteuid() == 0 and not embedded_files._others_may_enter(programs):
        shutil.copytree(package / version, folder / package.name / version, symlinks=True)
        shutil.copytree(package.with_name(f"{package.name}.libs"), folder / f"{package.name}.libs", symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        programs = folder / package.name / version / "bin"
    return programs


@pytest.fixture(scope="module", params=["pginstall", "pginstall18"])
def server(request: pytest.FixtureRequest, open_directory: Path) -> Iterator[sa.URL]:
    """A server with the programs of that folder of the package; the URL is the superuser's."""
    folder = open_directory / f"server {request.param}"
    folder.mkdir()
    user = "nobody" if os.geteuid() == 0 else None
    programs, run = _reachable_programs(request.param, folder), {"check": True, "cwd": "/", **identity(user)}
    data = folder / "data"
    data.mkdir()
    if user is not None:
        shutil.chown(data, user)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    how = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-U", "rigl"]
    subprocess.run([programs / "initdb", "-D", data, *how], **run, **quiet)
    # It listens on a socket in its folder only: no port can be somebody else's.
    options = f"-c listen_addresses='' -c unix_socket_directories='{data}' -c fsync=off"
    subprocess.run([programs / "pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", options, "start"], **run, **quiet)
    yield sa.URL.create("postgresql", "rigl", database="postgres", query={"host": str(data)})
    subprocess.run([programs / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"], **run, **quiet)


def execute(url: sa.URL, *statements: str) -> None:
    connection = psycopg2.connect(user=url.username, dbname=url.database, host=url.query["host"])
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


Made = Callable[..., StorageUrl]


@pytest.fixture
def made(server: sa.URL) -> Made:
    """Makes a database and a role without rights there but those that the statements give it: {role}, {database}."""

    def make(*statements: str) -> StorageUrl:
        role, database = f"ann_{uuid4().hex[:8]}", f"lab_{uuid4().hex[:8]}"
        execute(server, f"CREATE ROLE {role} LOGIN", f"CREATE DATABASE {database}")
        url = server.set(database=database)
        execute(url, *(statement.format(role=role, database=database) for statement in statements))
        return StorageUrl.parse(url.set(username=role).render_as_string())

    return make


def own_schema(name: str, path: str | None = None) -> tuple[str, ...]:
    """A schema of the role's own, and its search_path."""
    quoted = '"' + name.replace('"', '""') + '"'
    return (
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f"CREATE SCHEMA {quoted} AUTHORIZATION {{role}}",
        f"ALTER ROLE {{role}} SET search_path = {path or quoted}",
    )


SHAPES = {
    "a schema of its own": own_schema("lab"),
    "one of several": own_schema("lab", "nowhere, lab, public"),
    "with capitals, quotes, spaces and dots": own_schema('My "Lab" no. 1 * ?'),
    "named as a table": own_schema("studies"),
    "public": ("GRANT CREATE ON SCHEMA public TO {role}",),
    "the owner's": ("ALTER DATABASE {database} OWNER TO {role}",),
    "another schema there, which it may not read": (
        "CREATE SCHEMA theirs",
        "CREATE TABLE theirs.secret (x int)",
        *own_schema("lab"),
    ),
}


def n_studies(url: StorageUrl) -> int:
    storage = open_storage(url)
    try:
        return len(storage.get_all_studies())
    finally:
        close_storage(storage)


def fill(url: StorageUrl, name: str = "mine") -> None:
    import optuna

    storage = open_storage(url)
    optuna.create_study(storage=storage, study_name=name).enqueue_trial({"lr": 0.1})
    close_storage(storage)


@pytest.mark.parametrize("rights", SHAPES.values(), ids=SHAPES)
def test_the_role_that_made_a_backup_restores_it(made: Made, rights: tuple[str, ...], tmp_path: Path) -> None:
    file, here, there = tmp_path / "b.backup", made(*rights), made(*rights)
    fill(here)
    backup(here, file, Retrier(here))
    fill(here, "later")
    assert restore(here, file, Retrier(here), replace=True).n_studies == 1
    assert restore(there, file, Retrier(there), replace=False).n_studies == 1, "into an empty database of its like"
    assert (n_studies(here), n_studies(there)) == (1, 1)
    fill(there, "next")
    assert n_studies(there) == 2, "it works as before"


def test_a_backup_of_another_schema_is_refused_with_both_names(made: Made, tmp_path: Path) -> None:
    file, here, there = tmp_path / "b.backup", made(*own_schema("lab")), made(*own_schema("other"))
    fill(here)
    backup(here, file, Retrier(here))
    with pytest.raises(BadInput, match=r'b.backup holds the schema "lab", and the tables of .* belong in "other"'):
        restore(there, file, Retrier(there), replace=False)


def test_a_database_without_the_schema_is_told_so(made: Made, tmp_path: Path) -> None:
    file, here = tmp_path / "b.backup", made(*own_schema("lab"))
    fill(here)
    backup(here, file, Retrier(here))
    there = made("ALTER ROLE {role} SET search_path = lab")
    with pytest.raises(BadInput, match=r"no schema of the search_path of .* is there; make it first"):
        restore(there, file, Retrier(there), replace=False)


def test_a_role_that_may_make_no_tables_is_told_so(made: Made, tmp_path: Path) -> None:
    file, here = tmp_path / "b.backup", made("GRANT CREATE ON SCHEMA public TO {role}")
    fill(here)
    backup(here, file, Retrier(here))
    there = made("REVOKE ALL ON SCHEMA public FROM PUBLIC", "GRANT USAGE ON SCHEMA public TO {role}")
    with pytest.raises(StorageError, match=r"^pg_restore of Postgres failed on .*permission denied for schema public"):
        restore(there, file, Retrier(there), replace=False)


def test_tables_are_found_behind_an_empty_schema_of_the_path(made: Made, server: sa.URL, tmp_path: Path) -> None:
    """A search_path that was made longer later: Optuna goes on with the tables that it sees."""
    file, here = tmp_path / "b.backup", made(*own_schema("lab", "public"), "GRANT ALL ON SCHEMA public TO {role}")
    fill(here)
    execute(server, f"ALTER ROLE {sa.make_url(here.secret()).username} SET search_path = lab, public")
    fill(here, "second")
    backup(here, file, Retrier(here))
    fill(here, "third")
    assert restore(here, file, Retrier(here), replace=True).n_studies == 2
    assert n_studies(here) == 2


def test_the_command_line_says_it_all(made: Made, tmp_path: Path) -> None:
    """With the programs that a machine has: an old pg_dump on PATH is passed over for the package's."""
    here, environment = made(*own_schema("lab")), {**os.environ, "RIGL_STUDY_STORAGE": ""}
    fill(here)
    environment["RIGL_STUDY_STORAGE"] = here.secret()
    command = [sys.executable, "-m", "studies", "storage"]
    for arguments in (["backup", "b.backup"], ["restore", "b.backup", "--replace"]):
        done = subprocess.run([*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
