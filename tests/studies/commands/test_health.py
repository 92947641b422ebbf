"""`work --health-file` and `health` as processes of their own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.database.storage_url import StorageUrl
from tests.forked import Command
from tests.hanging_proxy import HangingProxy

SPEC = """
name = "tiny"
[fixed]
dataset = "digits"
epochs = 1000000  # it is not over before it is stopped, however quick the machine is
[strategy]
n_trials = 1
seeds = [0]
"""
RIGL_STUDY = [sys.executable, "-m", "studies"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGL_STUDY_STORAGE", "sqlite:///study.db")
    Path("tiny.toml").write_text(SPEC)


def health() -> "subprocess.CompletedProcess[str]":
    return Command("health", "h").finish()


def test_workers_say_that_they_are_there_and_no_more_when_they_have_ended(wait_until: Callable[..., bool]) -> None:
    assert Command("create", "tiny.toml").finish().returncode == 0
    command = [*RIGL_STUDY, "work", "--health-file", "h", "--checkpoints", "checkpoints"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as worker:
        assert wait_until(lambda: Path("h").exists() and json.loads(Path("h").read_text())["alive"] == 1)
        there = health()
        assert (there.returncode, there.stderr) == (0, "")
        assert there.stdout.startswith(f"1 of 1 worker processes run (process {worker.pid}, ")
        assert worker.stderr is not None
        assert any("begins" in line for line in worker.stderr)
        worker.send_signal(signal.SIGTERM)
        worker.stderr.read()
    assert worker.returncode == 0
    gone = health()
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr == "rigl-study: there is no health file h: no workers run with --health-file h.\n"


def test_an_outage_of_the_database_is_none_of_the_workers(wait_until: Callable[..., bool]) -> None:
    url = "postgresql://me@127.0.0.1:1/db"  # nobody listens there
    command = [*RIGL_STUDY, "work", "--health-file", "h", "--storage", url]
    environment = {**os.environ, "RIGL_STUDY_PATIENCE": "300"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as worker:
        assert worker.stderr is not None
        assert "is away, waiting up to 300 s" in worker.stderr.readline()
        there = health()
        worker.kill()
    assert (there.returncode, there.stderr) == (0, "")
    assert there.stdout.startswith("0 of 1 worker processes run")


def test_a_database_that_is_there_and_answers_nothing_is_no_good_health(
    postgres_url: StorageUrl, wait_until: Callable[..., bool]
) -> None:
    def told() -> dict[str, Any]:
        content: dict[str, Any] = json.loads(Path("h").read_text()) if Path("h").exists() else {"alive": 0}
        return content

    with HangingProxy(postgres_url) as proxy:
        command = [*RIGL_STUDY, "work", "--forever", "--health-file", "h", "--storage", proxy.url.secret()]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as worker:
            assert wait_until(lambda: told()["alive"] == 1)
            assert health().returncode == 0
            proxy.hang()
            assert wait_until(lambda: told()["unanswered"] > 6)
            refused = Command("health", "h", "--max-wait", "6").finish()
            worker.kill()
            worker.communicate()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("rigl-study: the database has not answered for")
