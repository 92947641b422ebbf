"""What an operator does with a database, as commands on a real one."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from studies.database.storage_url import StorageUrl

RIGL_STUDY = [sys.executable, "-m", "studies"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, storage: str | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **({} if storage is None else {"RIGL_STUDY_STORAGE": storage}), **variables}
    return subprocess.run([*RIGL_STUDY, *arguments], capture_output=True, text=True, check=False, env=environment)


def query(url: StorageUrl, statement: str) -> Any:
    engine = sa.create_engine(url.secret())
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement))
        rows = result.all() if result.returns_rows else None
    engine.dispose()
    return rows


def test_init_creates_the_tables_once(postgres_url: StorageUrl) -> None:
    for _ in range(2):
        done = run("storage", "init", storage=postgres_url.secret())
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"rigl-study: the tables in {postgres_url} are ready\n"
    assert len(query(postgres_url, "SELECT * FROM alembic_version")) == 1
    assert query(postgres_url, "SELECT * FROM studies") == []


def test_init_makes_a_sqlite_file() -> None:
    assert run("storage", "init", storage="sqlite:///new.db").returncode == 0
    assert run("list", storage="sqlite:///new.db").returncode == 0


@pytest.mark.parametrize("command", [["list"], ["create", "fashion-lenet-smoke"]])
def test_short_commands_give_up_soon(command: list[str]) -> None:
    began = time.monotonic()
    done = run(*command, storage="postgresql://me:s3cr3t@127.0.0.1:1/db")
    took = time.monotonic() - began
    assert done.returncode == 1
    assert 9 < took < 40, "10 s of patience, one last wait of up to 5 s, and a start on a busy machine"
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
