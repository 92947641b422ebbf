"""Jobs of SLURM without a SLURM: what they are told, and how one ends. The real thing is in tests/acceptance."""

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies import slurm
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, LaunchError
from studies.slurm import SlurmJobs, WorkJob, check_slurm, check_visible, job_environment, script
from tests.held import LONG

PASSWORD = "p%25ss w\"o'rd\\$`#@:/?"
URL = StorageUrl.parse(
    "postgresql://rigl:p%2525ss%20w%22o'rd%5C%24%60%23%40%3A%2F%3F@db.example:5433/rigl?sslmode=require"
)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """`fake(name, script)`: a command of that name, before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, text: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)

    return make


def test_jobs_are_told_the_url_without_its_password() -> None:
    environment, password = job_environment(URL, Path("/shared/jobs"))
    assert password == PASSWORD
    assert environment == {
        "RIGL_STUDY_STORAGE": "postgresql+psycopg2://rigl@db.example:5433/rigl?sslmode=require",
        "RIGL_STUDY_STORAGE_PASSWORD_FILE": "/shared/jobs/password",
    }
    pickled = pickle.dumps(WorkJob(("--device", "cpu"), environment, 2, "/shared/jobs"))
    assert b"db.example" in pickled
    assert b"o'rd" not in pickled


def test_a_url_without_a_password_needs_no_file() -> None:
    environment, password = job_environment(StorageUrl.parse("postgresql://rigl@db.example/rigl"), Path("/jobs"))
    assert (environment, password) == ({"RIGL_STUDY_STORAGE": "postgresql+psycopg2://rigl@db.example/rigl"}, None)


def test_a_secret_that_no_file_can_hold_is_refused() -> None:
    url = StorageUrl.parse("postgresql://rigl@db.example/rigl?sslpassword=hush")
    with pytest.raises(BadInput, match="sslpassword") as raised:
        job_environment(url, Path("/jobs"))
    assert "hush" not in str(raised.value)


def test_the_script_asks_for_what_was_asked() -> None:
    asked = SlurmJobs(
        n_jobs=8, minutes=240, notice=90, partition="gpu", gpus=1, cpus=6, array_parallelism=3, options={"qos": "low"}
    )
    lines = script(asked, Path("/shared/jobs")).splitlines()
    for line in (
        "--array=0-7%3",
        "--time=240",
        "--signal=USR2@90",
        "--partition=gpu",
        "--gres=gpu:1",
        "--cpus-per-task=6",
        "--requeue",
        "--open-mode=append",
        "--qos=low",
    ):
        assert f"#SBATCH {line}" in lines
    assert "srun" in lines[-1]
    assert "--cpus-per-task=6" in lines[-1]


def test_one_job_is_no_array() -> None:
    text = script(SlurmJobs(n_jobs=1, minutes=10, notice=60), Path("/shared/jobs"))
    assert "--array" not in text
    assert "gres" not in text


HERE = socket.gethostname().partition(".")[0]
LOCAL = ("postgresql://u:hush@127.0.0.1/d", "postgresql://u@localhost/d", "postgresql:///d?host=/run", "sqlite:///s.db")


@pytest.mark.parametrize("url", LOCAL)
def test_other_machines_cannot_see_a_database_of_this_one(url: str, fake: Callable[[str, str], None]) -> None:
    fake("sinfo", f"echo {HERE}; echo moon")
    with pytest.raises(BadInput, match="--storage") as raised:
        check_visible(StorageUrl.parse(url), 2)
    assert "hush" not in str(raised.value)
    fake("sinfo", f"echo {HERE}.example.org; echo {HERE}")
    check_visible(StorageUrl.parse(url), 2)


def test_a_database_elsewhere_is_fine(fake: Callable[[str, str], None]) -> None:
    fake("sinfo", "exit 1")  # not even asked
    check_visible(URL, 2)


def test_a_slurm_that_does_not_answer_is_an_error(fake: Callable[[str, str], None]) -> None:
    fake("sinfo", "echo no controller >&2; exit 1")
    with pytest.raises(LaunchError, match="no controller"):
        check_visible(StorageUrl.parse(LOCAL[0]), 2)


def test_without_slurm_nothing_can_be_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LaunchError, match="there is no sbatch here"):
        check_slurm()


JOB = """
import os, signal, sys
from studies.slurm import WorkJob
def requeue(signum, frame):
    print("queued again", flush=True)
    sys.exit(3)
signal.signal(signal.SIGUSR2, requeue)
WorkJob(("--campaign", "x"), {"ADDED": "1"}, 2, sys.argv[1])()
"""
WORKER = """
trap 'echo told $ADDED; exit 0' USR1
echo ready
while :; do sleep 0.05; done
"""


@pytest.fixture
def start_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Callable[[str, str], None]
) -> Callable[[str, str], "subprocess.Popen[str]"]:
    """`start_job(worker, state)`: a job whose worker is a shell script, and which SLURM says is in that state."""
    root = Path(slurm.__file__).parents[1]

    def start(worker: str, state: str) -> "subprocess.Popen[str]":
        fake("squeue", f'[ "$3" = --jobs=7_1 ] && echo {state}')
        fake("python", f'shift 3; [ "$*" = "work --campaign x" ] || exit 9\n{worker}')
        code = JOB.replace("import os", f"import sys; sys.path.insert(0, {str(root)!r})\nimport os", 1)
        code = code.replace("WorkJob((", "sys.executable = 'python'\nWorkJob((")
        variables = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}
        (tmp_path / "password").write_text("hush\n")
        return subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables},
        )

    return start


@pytest.mark.parametrize("signum", [signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR1])
def test_a_job_that_is_told_to_stop_gives_back_and_is_queued_again(start_job: Any, signum: int, tmp_path: Path) -> None:
    with start_job(WORKER, "RUNNING") as job:
        assert job.stdout.readline() == "ready\n"
        job.send_signal(signum)
        assert job.communicate(timeout=LONG)[0] == "told 1\nqueued again\n"
        assert job.returncode == 3
    assert (tmp_path / "password").exists(), "it will be read again"


def test_a_cancelled_job_is_not_queued_again(start_job: Any, tmp_path: Path) -> None:
    with start_job(WORKER, "COMPLETING") as job:
        assert job.stdout.readline() == "ready\n"
        job.send_signal(signal.SIGTERM)
        assert job.communicate(timeout=LONG)[0] == "told 1\n"
        assert job.returncode == 0
    assert (tmp_path / "ended-1").exists()


def test_the_last_job_removes_the_password(start_job: Any, tmp_path: Path) -> None:
    with start_job("exit 0", "RUNNING") as job:
        assert job.wait(LONG) == 0
    assert (tmp_path / "password").exists(), "one of two"
    (tmp_path / "ended-0").touch()
    with start_job("exit 0", "RUNNING") as job:
        assert job.wait(LONG) == 0
    assert not (tmp_path / "password").exists()


def test_a_worker_that_fails_fails_its_job(start_job: Any) -> None:
    with start_job("exit 2", "RUNNING") as job:
        assert "ended with exit code 2" in job.communicate(timeout=LONG)[1]
        assert job.returncode == 1
