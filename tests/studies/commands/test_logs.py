"""What `--log-format json` writes, by real processes: every line is one JSON object."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from studies.database.storage_url import StorageUrl
from tests.forked import Command

SPEC = """
name = "tiny"
[fixed]
dataset = "digits"
epochs = 2
delta_t = 5
sparsity = 0.5
[strategy]
n_trials = 1
seeds = [0]
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, sqlite_url: StorageUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGL_STUDY_STORAGE", str(sqlite_url))
    Path("tiny.toml").write_text(SPEC)


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return Command(*arguments).finish()


def test_workers_and_their_parent_say_where_they_are() -> None:
    done = run("run", "tiny.toml", "--log-format", "json", "--checkpoints", "c", "--out", "out", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["logger"] for line in told} == {"rigl_study.command", "rigl_study.worker"}
    for line in told:
        assert datetime.fromisoformat(line["time"]).tzinfo is not None
        assert line["level"] == "INFO"
        assert line["message"]
    epochs = [line for line in told if "epoch" in line]
    assert [line["epoch"] for line in epochs] == [1, 2]
    for line in epochs:
        worker = line.pop("worker")
        assert worker.count(":") == 2
        assert {key: line[key] for key in ("campaign", "study", "trial", "device")} == {
            "campaign": "tiny",
            "study": "tiny/rigl-s0.5-erk",
            "trial": 0,
            "device": "cpu",
        }
    assert not done.stdout.startswith("{"), "the result is for people"


def test_more_is_told_to_those_who_ask() -> None:
    Path("tiny.toml").write_text(SPEC.replace("epochs = 2", "epochs = 5"))
    done = run("run", "tiny.toml", "--verbose", "--checkpoints", "c", "--out", "out", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert [f"epoch {epoch} of 5" in done.stderr for epoch in range(1, 6)] == [True] * 5
    assert "trial 0 begins (attempt 1)" in done.stderr
    assert "trial 0: complete after" in done.stderr


def test_what_is_wrong_is_said_in_json_too() -> None:
    run("create", "tiny.toml")
    for arguments, code, told in (
        (["work", "--log-format", "json", "--campaign", "tinny"], 2, 'no campaign "tinny" is stored'),
        (["work", "--log-format", "json", "--device", "gpu"], 2, 'device "gpu" is unknown'),
    ):
        done = run(*arguments)
        assert done.returncode == code
        (line,) = done.stderr.splitlines()
        said = json.loads(line)
        assert (said["level"], said["logger"]) == ("ERROR", "rigl_study.command")
        assert told in said["message"]


def test_there_are_two_formats() -> None:
    done = run("work", "--log-format", "jsn")
    assert done.returncode == 2
    assert done.stderr == 'rigl-study: unknown log format "jsn". Did you mean "json"? Known: text, json.\n'


def test_a_full_disk_on_stdout_is_told() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "studies", "catalogue", "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "rigl-study: cannot write the result: No space left on device.\n"
