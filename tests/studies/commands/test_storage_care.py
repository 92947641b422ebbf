"""What an operator does with a database, as commands on a real one."""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import sqlalchemy as sa

from studies.database import care
from studies.database.embedded import EmbeddedPostgres
from studies.database.retrying import Retrier
from studies.database.storage_url import StorageUrl
from tests.forked import Command, Worker
from tests.held import LONG
from workers.pool import WorkerSettings


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, storage: str | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
    if storage is not None:
        variables["RIGL_STUDY_STORAGE"] = storage
    return Command(*arguments, variables=variables).finish()


def query(url: StorageUrl, statement: str) -> Any:
    engine = sa.create_engine(url.secret())
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement))
        rows = result.all() if result.returns_rows else None
    engine.dispose()
    return rows


def test_init_creates_the_tables_once(empty_postgres_url: StorageUrl) -> None:
    for _ in range(2):
        done = run("storage", "init", storage=empty_postgres_url.secret())
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"rigl-study: the tables in {empty_postgres_url} are ready\n"
    assert len(query(empty_postgres_url, "SELECT * FROM alembic_version")) == 1
    assert query(empty_postgres_url, "SELECT * FROM studies") == []


def test_init_makes_a_sqlite_file() -> None:
    assert run("storage", "init", storage="sqlite:///new.db").returncode == 0
    assert run("list", storage="sqlite:///new.db").returncode == 0


@pytest.mark.parametrize("command", [["list"], ["create", "fashion-lenet-smoke"]])
def test_short_commands_give_up_soon(command: list[str]) -> None:
    began = time.monotonic()
    done = run(*command, storage="postgresql://me:s3cr3t@127.0.0.1:1/db")
    took = time.monotonic() - began
    assert done.returncode == 1
    assert 9 < took < 200, "10 s of patience, one last wait of up to 5 s, and no minutes but those of a busy machine"
    away, gave_up = done.stderr.splitlines()
    assert "is away, waiting up to 10 s" in away
    assert "no answer from the database postgresql://me:***@127.0.0.1:1/db for 10 s" in gave_up


def test_the_users_own_patience_counts_more() -> None:
    done = run("list", storage="postgresql://me@127.0.0.1:1/db", RIGL_STUDY_PATIENCE="0")
    assert done.returncode == 1
    assert "for 0 s" in done.stderr


def test_the_url_is_that_of_psql_revealed_or_not() -> None:
    storage = "postgresql+psycopg2://me:s3%20cr3t@db/study"
    assert run("storage", "url", storage=storage).stdout == "postgresql://me:***@db/study\n"
    assert run("storage", "url", "--reveal", storage=storage).stdout == "postgresql://me:s3%20cr3t@db/study\n"


SPEC = """
name = "tiny"
[fixed]
dataset = "digits"
epochs = 2
delta_t = 5
sparsity = 0.5
[search]
lr = [0.05, 0.1]
[strategy]
sampler = "grid"
seeds = [0]
reference = { lr = 0.1 }
"""


@pytest.fixture
def another_url(postgres_server: EmbeddedPostgres) -> Iterator[StorageUrl]:
    """A second new, empty database of the same server, with a name that must be encoded in a URL."""
    name = f"another one @/?# ü {uuid4().hex[:12]}"
    server = StorageUrl.parse(postgres_server.ensure_running().secret())
    engine = sa.create_engine(server.secret(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
        yield StorageUrl.parse(server.secret().replace("/rigl_study", f"/{quote(name, safe='')}"))
        connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    engine.dispose()


def said(done: "subprocess.CompletedProcess[str]", code: int) -> str:
    """The one line that a command said."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("rigl-study: ").rstrip("\n")


def files(folder: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def work(storage: str, max_trials: int | None = None) -> None:
    """A worker, until nothing is left to do for it."""
    settings = WorkerSettings(storage=storage, checkpoint_dir="checkpoints", device="cpu", max_trials=max_trials)
    worker = Worker(settings, Path("worker.log"))
    assert worker.wait(200) == 0, worker.said()
    worker.close()


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
def test_a_campaign_comes_back_from_its_backup_and_goes_on(kind: str, request: pytest.FixtureRequest) -> None:
    Path("tiny.toml").write_text(SPEC)
    here, there = "sqlite:///here.db", "sqlite:///there.db"
    if kind == "postgres":
        here, there = (request.getfixturevalue(name).secret() for name in ("empty_postgres_url", "another_url"))
    assert run("create", "tiny.toml", storage=here).returncode == 0
    work(here, max_trials=1)
    assert run("report", "tiny", "--out", "before", storage=here).returncode == 0

    assert "is in b.backup, " in said(run("storage", "backup", "b.backup", storage=here), 0)
    assert Path("b.backup").stat().st_mode & 0o777 == 0o600
    assert "holds 1 study again" in said(run("storage", "restore", "b.backup", storage=there), 0)
    assert run("report", "tiny", "--out", "after", storage=there).returncode == 0
    assert files("after") == files("before")

    again = run("storage", "restore", "b.backup", storage=there)
    assert "holds 1 study; restore into an empty database, or replace them for good with --replace" in said(again, 2)
    work(there)
    assert '"complete": 2' in run("status", "tiny", "--json", storage=there).stdout
    said(run("storage", "restore", "b.backup", "--replace", storage=there), 0)
    assert '"complete": 1' in run("status", "tiny", "--json", storage=there).stdout
    left = sorted(path.name for path in Path().iterdir())
    assert not [name for name in left if name.startswith(".")], "no half-written file stays"


def test_a_restore_that_fails_changes_nothing(empty_postgres_url: StorageUrl) -> None:
    Path("tiny.toml").write_text(SPEC)
    storage = empty_postgres_url.secret()
    assert run("create", "tiny.toml", storage=storage).returncode == 0
    said(run("storage", "backup", "b.backup", storage=storage), 0)
    whole = Path("b.backup").read_bytes()
    Path("b.backup").write_bytes(whole[: len(whole) // 2])
    before = query(empty_postgres_url, "SELECT * FROM trials ORDER BY trial_id")
    told = said(run("storage", "restore", "b.backup", "--replace", storage=storage), 1)
    assert told.startswith(f"pg_restore of Postgres failed on {empty_postgres_url}: ")
    assert query(empty_postgres_url, "SELECT * FROM trials ORDER BY trial_id") == before
    assert '"waiting": 2' in run("status", "tiny", "--json", storage=storage).stdout


def test_tables_of_somebody_else_are_not_restored_over(empty_postgres_url: StorageUrl) -> None:
    storage = empty_postgres_url.secret()
    said(run("storage", "init", storage=storage), 0)
    said(run("storage", "backup", "b.backup", storage=storage), 0)
    query(empty_postgres_url, "CREATE TABLE mine (x int)")
    assert "holds tables (" in said(run("storage", "restore", "b.backup", storage=storage), 2)
    query(empty_postgres_url, "DROP TABLE mine")
    assert "holds 0 studies again" in said(run("storage", "restore", "b.backup", storage=storage), 0)


def test_nobody_else_may_be_connected(empty_postgres_url: StorageUrl) -> None:
    storage = empty_postgres_url.secret()
    said(run("storage", "init", storage=storage), 0)
    said(run("storage", "backup", "b.backup", storage=storage), 0)
    query(empty_postgres_url, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    engine = sa.create_engine(storage)
    with engine.connect():
        for command in (["restore", "b.backup"], ["upgrade"]):
            told = said(run("storage", *command, storage=storage), 2)
            assert told.startswith(f"1 other connection uses {empty_postgres_url}; stop all workers, ")
    engine.dispose()


def test_who_is_just_leaving_is_waited_for(empty_postgres_url: StorageUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command has closed is there until the server's process for it has ended, some milliseconds as a rule."""
    monkeypatch.setattr(care, "LEAVE_SECONDS", LONG)
    engine, retrier = sa.create_engine(empty_postgres_url.secret()), Retrier(empty_postgres_url)
    connection = engine.connect()
    found = care.look(empty_postgres_url, retrier)
    assert len(found.connections) == 1
    leaves = threading.Timer(0.1, lambda: (connection.close(), engine.dispose()))
    leaves.start()
    care.refuse_while_in_use(empty_postgres_url, found, "restoring", retrier)
    leaves.join()


BAD_FILES = {
    "missing": (["restore", "missing"], "cannot read the backup missing: No such file"),
    "empty": (["restore", "empty"], "empty is no backup of rigl-study"),
    "a text": (["restore", "study.toml"], "study.toml is no backup of rigl-study"),
    "a folder": (["restore", "."], '"." is a folder; name a file'),
    "over a study file": (["backup", "study.toml"], "study.toml is there and is no backup"),
    "over a folder": (["backup", "."], '"." is a folder; name a file'),
    "into no folder": (["backup", "no/b.backup"], "there is no folder"),
    "below a file": (
        ["backup", "study.toml/b.backup"],
        "which is not a folder; name another place",
    ),
    "a very long name": (["backup", 300 * "x"], "File name too long; name another"),
    "of another kind": (["restore", "p.backup"], "p.backup is a backup of Postgres, and sqlite:///"),
    "of nothing": (["backup", "b.backup"], "holds no tables, so there is nothing to back up"),
    "nothing to upgrade": (["upgrade"], "holds no tables yet"),
}


@pytest.mark.parametrize(("arguments", "told"), BAD_FILES.values(), ids=BAD_FILES)
def test_files_that_are_refused(arguments: list[str], told: str) -> None:
    Path("study.toml").write_text(SPEC)
    Path("empty").touch()
    Path("p.backup").write_bytes(b"PGDMP and so on")
    Path("study.db").touch()
    before = files(".")
    assert told in said(run("storage", *arguments, storage="sqlite:///study.db"), 2)
    assert files(".") == before


def downgrade(url: StorageUrl) -> None:
    """Make the tables what Optuna 3.0 and 3.1 made: without the index that 3.2 brought."""
    query(url, "DROP INDEX ix_trials_study_id")
    query(url, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
def test_older_tables_are_backed_up_and_upgraded(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    Path("tiny.toml").write_text(SPEC)
    url = StorageUrl.parse(f"sqlite:///{tmp_path}/s.db")
    if kind == "postgres":
        url = request.getfixturevalue("empty_postgres_url")
    assert run("create", "tiny.toml", storage=url.secret()).returncode == 0
    downgrade(url)
    refused = said(run("status", "tiny", storage=url.secret()), 1)
    assert "make a backup (`rigl-study storage backup FILE`), run `rigl-study storage upgrade`" in refused
    said(run("storage", "backup", "b.backup", storage=url.secret()), 0)

    upgraded = said(run("storage", "upgrade", storage=url.secret()), 0)
    assert upgraded == f"upgraded the tables in {url} from version v3.0.0.d to v3.2.0.a"
    indexes = "pg_indexes WHERE indexname" if kind == "postgres" else "sqlite_master WHERE name"
    assert len(query(url, f"SELECT 1 FROM {indexes} = 'trials_study_id_key'")) == 1
    assert '"waiting": 2' in run("status", "tiny", "--json", storage=url.secret()).stdout
    again = said(run("storage", "upgrade", storage=url.secret()), 0)
    assert again == f"the tables in {url} have version v3.2.0.a already"

    said(run("storage", "restore", "b.backup", "--replace", storage=url.secret()), 0)
    assert "upgraded" in said(run("storage", "upgrade", storage=url.secret()), 0)


def test_tables_of_a_newer_optuna_are_left_alone(empty_postgres_url: StorageUrl) -> None:
    said(run("storage", "init", storage=empty_postgres_url.secret()), 0)
    query(empty_postgres_url, "UPDATE alembic_version SET version_num = 'v99'")
    told = said(run("storage", "upgrade", storage=empty_postgres_url.secret()), 1)
    assert "have version v99" in told
    assert "install the newer Optuna" in told
    assert query(empty_postgres_url, "SELECT version_num FROM alembic_version") == [("v99",)]


def test_an_upgrade_that_fails_changes_nothing(empty_postgres_url: StorageUrl) -> None:
    said(run("storage", "init", storage=empty_postgres_url.secret()), 0)
    query(empty_postgres_url, "CREATE INDEX trials_study_id_key ON trials (study_id)")  # which the migration creates
    query(empty_postgres_url, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    told = said(run("storage", "upgrade", storage=empty_postgres_url.secret()), 1)
    assert told.startswith(f"the tables in {empty_postgres_url} could not be upgraded: ")
    assert "trials_study_id_key" in told
    assert query(empty_postgres_url, "SELECT version_num FROM alembic_version") == [("v3.0.0.d",)]
