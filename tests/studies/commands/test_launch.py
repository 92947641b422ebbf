"""`rigl-study launch slurm`, as far as it goes without a SLURM."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from studies.cli import app
from studies.database.storage_url import StorageUrl


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    handlers = logging.getLogger("rigl_study").handlers
    yield
    logging.getLogger("rigl_study").handlers = handlers


def launch(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["launch", "slurm", "--workers", "2", *arguments])


def test_a_dry_run_prints_the_script_and_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGL_STUDY_STORAGE", "postgresql://rigl:hush@db.example/rigl")
    monkeypatch.setenv("PATH", "/nowhere")
    done = launch("--gpus", "1", "--time", "2-12", "--sbatch", "account=lab", "--folder", "jobs", "--dry-run")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert {"#SBATCH --array=0-1%2", "#SBATCH --gres=gpu:1", "#SBATCH --time=3600", "#SBATCH --account=lab"} <= set(
        lines
    )
    assert f"#SBATCH --output={tmp_path}/jobs/%A_%a_0_log.out" in lines
    assert "hush" not in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["exclusive", "exclusive=user", "hold", "no-kill", "no-kill=off", "x11", "qos=a b"])
def test_options_of_sbatch_with_and_without_a_value(option: str) -> None:
    done = launch("--sbatch", option, "--dry-run")
    assert done.exit_code == 0, done.output
    written = {"qos=a b": "qos='a b'"}.get(option, option)
    assert f"#SBATCH --{written}" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("90", 90), ("90:30", 91), ("4:00:00", 240), ("0:05:01", 6), ("1-0", 1440), ("1-2:30", 1590), ("1-2:30:01", 1591)],
)
def test_time_limits_are_slurms(time: str, minutes: int) -> None:
    done = launch("--time", time, "--notice", "60", "--dry-run")
    assert f"#SBATCH --time={minutes}\n" in done.stdout, done.output


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--time", "soon"], '--time "soon"'),
        (["--time", "0:00:30"], "at least 1"),
        (["--time", "2", "--notice", "120"], "notice of 120 s"),
        (["--sbatch", "--exclusive"], "write it as --sbatch account=lab, or --sbatch exclusive"),
        (["--sbatch", "exclusive="], "is no option"),
        (["--sbatch", "exclusive=true"], "exclusive takes no value, or user, mcs, topo; write --sbatch exclusive"),
        (["--sbatch", "hold=yes"], "hold takes no value; write --sbatch hold"),
        (["--sbatch", "no-requeue"], "no-requeue is set by this command"),
        (["--sbatch", "parsable"], "does not tell the job's id"),
        (["--sbatch", "signal=KILL"], "signal is set by this command"),
        (["--device", "gpu"], "cuda"),
        (["--gpus", "2"], "--gpus"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], word: str, tmp_path: Path) -> None:
    done = launch(*arguments, "--dry-run")
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert word in line
    assert list(tmp_path.iterdir()) == []


def test_without_slurm_it_says_where_to_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = launch()
    assert (done.exit_code, done.stdout) == (1, "")
    assert "login node" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def cluster(tmp_path: Path, sqlite_url: StorageUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of a cluster with one machine, this one; sbatch must not be reached."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {
        "sinfo": "hostname -s",
        "srun": "",
        "squeue": "",
        "sbatch": "echo sbatch: error: No >&2; exit 1",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("RIGL_STUDY_STORAGE", str(sqlite_url))
    Path("tiny.toml").write_text(
        'name = "tiny"\n[fixed]\ndataset = "digits"\n[search]\nlr = [0.1]\n[strategy]\nsampler = "grid"\nseeds = [0]\n'
    )
    assert CliRunner().invoke(app, ["create", "tiny.toml"]).exit_code == 0


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("named", [["tyni"], ["--campaign", "tyni"]], ids=" ".join)
def test_a_campaign_that_is_not_there_is_refused(named: list[str]) -> None:
    done = CliRunner().invoke(app, ["launch", "slurm", "--workers", "1", *named])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Did you mean tiny?" in done.stderr


@pytest.mark.usefixtures("cluster")
def test_sqlite_takes_one_worker() -> None:
    done = launch("--campaign", "tiny")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "takes one worker" in done.stderr


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("arguments", "device"), [([], "auto"), (["--gpus", "1"], "cuda"), (["--gpus", "1", "--device", "cpu"], "cpu")]
)
def test_a_job_that_was_given_a_gpu_does_not_turn_to_the_cpu(
    arguments: list[str], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[list[str]] = []

    def submit(work: list[str], *_: object) -> list[str]:
        submitted.append(work)
        return ["1_0"]

    monkeypatch.setattr("studies.slurm.submit", submit)
    done = CliRunner().invoke(app, ["launch", "slurm", "--workers", "1", *arguments])
    assert done.exit_code == 0, done.output
    (work,) = submitted
    assert work[work.index("--device") + 1] == device


@pytest.mark.usefixtures("cluster")
def test_what_sbatch_says_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["launch", "slurm", "--workers", "1", "--folder", "jobs"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "sbatch refused: sbatch: error: No" in done.stderr
    assert not (tmp_path / "jobs").exists()


@pytest.mark.usefixtures("cluster")
def test_a_folder_that_is_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    done = CliRunner().invoke(app, ["launch", "slurm", "--workers", "1", "--folder", "jobs"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "choose another --folder" in done.stderr
