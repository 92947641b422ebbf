import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from studies import health_file
from studies.errors import BadInput
from studies.health_file import HealthFile, Unhealthy, check


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "health"


def test_it_is_there_at_once_private_whole_and_gone_at_the_end(path: Path) -> None:
    with HealthFile(path, 3):
        assert check(path).startswith(f"0 of 3 worker processes run (process {os.getpid()}, ")
        assert path.stat().st_mode & 0o777 == 0o600
        assert [file.name for file in path.parent.iterdir() if not file.is_dir()] == ["health"]
    assert not path.exists()


def test_a_folder_that_went_away_fails_nothing_at_the_end(path: Path) -> None:
    with HealthFile(path, 1):
        path.unlink()
        path.parent.rmdir()
        path.parent.touch()
    assert path.parent.is_file(), "and puts nothing in its place"


def test_it_is_written_again_and_tells_how_many_are_alive(
    path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., bool]
) -> None:
    monkeypatch.setattr(health_file, "WRITE_SECONDS", 0.01)
    with HealthFile(path, 2) as health:
        first = json.loads(path.read_text())
        health.tell(2)
        assert wait_until(lambda: json.loads(path.read_text())["alive"] == 2)
        assert wait_until(lambda: json.loads(path.read_text())["time"] > first["time"])


def test_no_path_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with HealthFile(None, 1) as health:
        health.tell(1)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", ["missing/health", ".", "nul\0"])
def test_what_cannot_be_written_is_refused_at_once(bad: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot write the health file"), HealthFile(tmp_path / bad, 1):
        pass


def test_a_disk_that_fills_up_is_told_once_and_the_file_grows_old(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wait_until: Callable[..., bool]
) -> None:
    monkeypatch.setattr(health_file, "WRITE_SECONDS", 0.01)
    tried = []

    def full(*_: object) -> None:
        tried.append(1)
        raise OSError(28, "No space left on device")

    with HealthFile(path, 1) as health:
        monkeypatch.setattr(health, "_write", full)
        assert wait_until(lambda: len(tried) > 3)
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.message for record in told] == [f"cannot write the health file {path}: No space left on device"]


def written(path: Path, age: float, now: datetime | None = None) -> None:
    time = ((now or datetime.now(UTC)) - timedelta(seconds=age)).isoformat()
    path.write_text(json.dumps({"pid": 1, "time": time, "workers": 2, "alive": 2}))


@pytest.mark.parametrize(
    ("age", "max_age", "why_not"),
    [
        (50, 60, ""),
        (-50, 60, ""),
        (70, 80, ""),
        (70, 60, "was written 70 s ago, more than 60 s"),
        (-3600, 60, "was written 3600 s from now: a clock was set back"),
    ],
)
def test_only_a_recent_file_counts(
    path: Path, age: float, max_age: float, why_not: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    clock = SimpleNamespace(now=lambda _zone: now, fromisoformat=datetime.fromisoformat)
    monkeypatch.setattr(health_file, "datetime", clock)
    written(path, age, now)
    if not why_not:
        assert check(path, max_age).startswith("2 of 2 worker processes run")
    else:
        with pytest.raises(Unhealthy, match=why_not):
            check(path, max_age)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "null", '{"pid": 1, "time": "now", "workers": 1, "alive": 1}', "\0"]
)
def test_another_file_is_not_taken_for_one(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(Unhealthy, match="is no health file"):
        check(path)


def test_the_command_says_one_line_and_needs_no_database_nor_torch(path: Path) -> None:
    script = (
        "import sys\nfrom studies.cli import app\ntry:\n    app(['health', sys.argv[1]])\nexcept SystemExit as end:\n"
        "    print(end.code, *(name for name in ('torch', 'optuna', 'sqlalchemy', 'psycopg2') if name in sys.modules))"
    )
    command = [sys.executable, "-c", script, str(path)]
    missing = subprocess.run(command, capture_output=True, text=True, check=True)
    assert missing.stdout == "1\n"
    assert missing.stderr.startswith(f"rigl-study: there is no health file {path}")
    assert missing.stderr.count("\n") == 1
    written(path, 0)
    there = subprocess.run(command, capture_output=True, text=True, check=True)
    assert there.stdout.startswith("2 of 2 worker processes run (process 1, ")
    assert there.stdout.splitlines()[1:] == ["0"]
    assert there.stderr == ""


def test_workers_are_well_while_their_database_may_still_answer(path: Path) -> None:
    with HealthFile(path, 2, lambda: 59.0):
        assert "of 2 worker processes run" in check(path)


def test_workers_whose_database_does_not_answer_are_not_well(path: Path) -> None:
    with (
        HealthFile(path, 2, lambda: 61.0),
        pytest.raises(Unhealthy, match="the database has not answered for 61 s, more than 60 s"),
    ):
        check(path)
