"""What a command says about how to compute reaches the processes that do."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rigl_core.execution import Execution
from studies.cli import app
from studies.database.storage_url import StorageUrl
from workers.pool import WorkerSettings

ASKED = ["--precision", "float32", "--deterministic", "--compile"]
LOUD = [*ASKED, "--verbose"]
SPEC = """
name = "tiny"
[fixed]
dataset = "digits"
[search]
lr = [0.1]
[strategy]
sampler = "grid"
seeds = [0]
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, sqlite_url: StorageUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGL_STUDY_STORAGE", str(sqlite_url))
    Path("tiny.toml").write_text(SPEC)


@pytest.mark.parametrize("command", [["run", "tiny.toml"], ["work", "--campaign", "tiny"]], ids=lambda words: words[0])
def test_workers_are_told(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert CliRunner().invoke(app, ["create", "tiny.toml"]).exit_code == 0
    told: list[WorkerSettings] = []
    monkeypatch.setattr("workers.pool.run_workers", lambda settings, *_, **__: told.append(settings) or 1)
    for asked in (LOUD, []):
        done = CliRunner().invoke(app, [*command, *asked])
        assert done.exit_code == 1, done.output
    read = [WorkerSettings.from_json(settings.to_json()) for settings in told]
    assert [(one.precision, one.deterministic, one.compiled, one.verbose) for one in read] == [
        ("float32", True, True, True),
        ("auto", False, False, False),
    ]


def test_a_single_run_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []

    def train_once(*_: object, **given: Any) -> None:
        told.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr("workers.single.train_once", train_once)
    CliRunner().invoke(app, ["train", *ASKED])
    assert [given["execution"] for given in told] == [Execution(precision="float32", deterministic=True, compiled=True)]


@pytest.mark.parametrize("asked", [ASKED, ASKED[:2], LOUD], ids=" ".join)
def test_jobs_are_told(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []
    assert CliRunner().invoke(app, ["create", "tiny.toml"]).exit_code == 0
    for name in ("check_slurm", "check_visible"):
        monkeypatch.setattr(f"studies.slurm.{name}", lambda *_: None)
    monkeypatch.setattr("studies.slurm.submit", lambda work, *_: told.append(work) or ["7_0"])
    done = CliRunner().invoke(app, ["launch", "slurm", "--workers", "1", *asked, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["jobs"] == ["7_0"]
    assert told[0][-len(asked) :] == asked
