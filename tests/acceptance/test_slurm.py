"""Workers as jobs of a real SLURM, with a real Postgres: arrays, notices, time limits, requeueing.

A SLURM of one machine does (its nodes must be this machine, because the database of the tests is on 127.0.0.1).
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from studies.campaigns import create_campaign
from studies.database.storage_url import StorageUrl
from studies.spec import StudySpec
from studies.storage import close_storage, open_storage
from studies.tickets import TicketQueue

ROOT = Path(__file__).parents[2]


def _why_not() -> str:
    """Why there is no SLURM to try this with; "" if there is one."""
    if missing := [name for name in ("sinfo", "sbatch", "srun", "scancel") if shutil.which(name) is None]:
        return f"no SLURM here: {missing[0]} is not installed"
    asked = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format=%N %T"], capture_output=True, text=True, timeout=20, check=False
    )
    if asked.returncode != 0:
        return f"no SLURM here: sinfo says {asked.stderr.strip()}"
    host = os.uname().nodename.partition(".")[0]
    states = dict(line.split() for line in asked.stdout.splitlines())
    return "" if states.keys() == {host} else f"the nodes of this SLURM are not just this machine: {sorted(states)}"


WHY_NOT = _why_not()
pytestmark = [pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "SLURM is here"), pytest.mark.timeout(600)]


class Cluster:
    """A study in a database, and jobs that work on it."""

    def __init__(self, url: StorageUrl, folder: Path, wait_until: Callable[..., bool]) -> None:
        self.url, self.folder, self._wait_until = url, folder, wait_until
        self.checkpoints = folder / "checkpoints"
        self.storage: BaseStorage = open_storage(url)
        self.jobs: list[str] = []
        (folder / "password").write_text(self.password + "\n")
        # As a user would have it: the URL without its password.
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RIGL_STUDY_STORAGE": url.secret().replace(f":{self.password}@", "@"),
            "RIGL_STUDY_STORAGE_PASSWORD_FILE": str(folder / "password"),
        }

    @property
    def password(self) -> str:
        return self.url.secret().split(":")[2].partition("@")[0]

    def create(self, name: str, *, lr: list[float], epochs: int) -> TicketQueue:
        spec = {
            "name": name,
            "fixed": {
                "model": "lenet_300_100",
                "dataset": "synthetic",
                "dataset_options": {"height": 8, "width": 8, "n_train": 1024, "n_eval": 64},
                "epochs": epochs,
                "delta_t": 10,
            },
            "search": {"lr": lr},
            "strategy": {"sampler": "grid", "seeds": [0]},
        }
        (queue,) = create_campaign(self.storage, StudySpec.model_validate(spec))
        return queue

    def sbatch(self, campaign: str, *options: str) -> str:
        """Submit `deploy/slurm/workers.sbatch`; the id of the array."""
        work = ["--campaign", campaign, "--checkpoints", str(self.checkpoints), "--device", "cpu"]
        script = str(ROOT / "deploy" / "slurm" / "workers.sbatch")
        said = self.run("sbatch", f"--output={self.folder}/%A_%a.log", *options, script, *work)
        job = re.findall(r"\d+", said)[-1]
        self.jobs.append(job)
        return str(job)

    def launch(self, campaign: str, *options: str) -> list[str]:
        """`rigl-study launch slurm`; the ids of its jobs."""
        work = ["--campaign", campaign, "--checkpoints", str(self.checkpoints), "--device", "cpu", "--json"]
        said = json.loads(self.run("rigl-study", "launch", "slurm", *options, *work))
        jobs: list[str] = said["jobs"]
        self.jobs += [job.partition("_")[0] for job in jobs]
        return jobs

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def state(self, job: str) -> str:
        """PENDING, RUNNING, COMPLETING ...; "" once it is over."""
        command = ["squeue", "--noheader", "--array", "--format=%T", f"--jobs={job}"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        return " ".join(asked.stdout.split())

    def trials(self, queue: TicketQueue) -> list[FrozenTrial]:
        return self.storage.get_all_trials(self.storage.get_study_id_from_name(queue.name))

    def trial(self, queue: TicketQueue) -> FrozenTrial:
        (trial,) = self.trials(queue)
        return trial

    def wait(self, condition: Callable[[], object], seconds: float = 240) -> None:
        # Asking SLURM takes a process.
        assert self._wait_until(condition, seconds, every=0.1), f"it did not happen in time; {self.logs()}"

    def wait_for_epoch(self, queue: TicketQueue, epoch: int) -> None:
        self.wait(lambda: epoch in self.trials(queue)[0].intermediate_values)

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.rglob("*")) if path.suffix in (".log", ".out"))

    def close(self) -> None:
        for job in self.jobs:
            subprocess.run(["scancel", job], capture_output=True, check=False)
        assert self._wait_until(lambda: not any(self.state(job) for job in self.jobs), 60), "jobs stay behind"
        close_storage(self.storage)


@pytest.fixture
def cluster(postgres_url: StorageUrl, tmp_path: Path, wait_until: Callable[..., bool]) -> Iterator[Cluster]:
    cluster = Cluster(postgres_url, tmp_path, wait_until)
    yield cluster
    cluster.close()


def test_an_array_of_workers_trains_a_grid(cluster: Cluster) -> None:
    queue = cluster.create("grid", lr=[0.05, 0.1, 0.2, 0.3], epochs=2)
    job = cluster.sbatch("grid", "--array=0-1")
    seen = ""

    def over() -> bool:
        nonlocal seen
        seen += subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=False).stdout
        seen += _environments(job)
        return not cluster.state(job)

    cluster.wait(over)
    assert (queue.counts().complete, len(cluster.trials(queue))) == (4, 4)
    assert "RIGL_STUDY_STORAGE=" in seen, "the jobs' environment was looked at"
    assert "workers.sbatch" in seen
    assert cluster.password not in seen + cluster.logs()


def _environments(job: str) -> str:
    """The environments of all processes of the array."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "environ").read_text()
        except OSError:  # it has just ended
            continue
        if f"SLURM_ARRAY_JOB_ID={job}\0" in text:
            found.append(text)
    return "".join(found)


def test_jobs_give_back_and_go_on_when_they_are_queued_again(cluster: Cluster) -> None:
    """One is told by hand and one by its time limit, at the same time: SLURM keeps both for two minutes after."""
    short, long = cluster.create("short", lr=[0.1], epochs=1000), cluster.create("long", lr=[0.1], epochs=5000)
    (limited,) = cluster.launch(
        "long", "--workers", "1", "--time", "2", "--notice", "60", "--folder", str(cluster.folder / "jobs")
    )
    told = f"{cluster.sbatch('short', '--array=3')}_3"
    cluster.wait_for_epoch(short, 2)
    cluster.run("scancel", "--signal=TERM", "--batch", told)
    cluster.wait(lambda: cluster.trial(short).state == TrialState.WAITING)
    cluster.wait(lambda: cluster.trial(long).state == TrialState.WAITING and "given_back" in attrs(cluster.trial(long)))
    cluster.wait(lambda: (cluster.state(told), cluster.state(limited)) == ("PENDING", "PENDING"))
    assert attrs(cluster.trial(short))["given_back"] in ("SIGTERM", "SIGUSR1")
    assert attrs(cluster.trial(long))["given_back"] in ("SIGUSR1", "SIGUSR2")
    assert len(list(cluster.checkpoints.rglob("*.pt"))) == 2
    so_far = len(cluster.trial(long).intermediate_values)
    assert so_far > 0

    cluster.wait(lambda: cluster.trial(short).state == TrialState.COMPLETE)
    cluster.wait(lambda: not cluster.state(told))
    done = cluster.trial(short).user_attrs
    assert (done["attempt"], done["epochs_recomputed"]) == (1, 0)
    cluster.wait(lambda: len(cluster.trial(long).intermediate_values) > so_far)
    epochs = sorted(cluster.trial(long).intermediate_values)  # asked once: it goes on meanwhile
    assert epochs == list(range(len(epochs)))


def attrs(trial: FrozenTrial) -> dict[str, Any]:
    return trial.system_attrs


def test_the_script_heeds_the_time_limit(cluster: Cluster) -> None:
    queue = cluster.create("long", lr=[0.1], epochs=5000)
    job = f"{cluster.sbatch('long', '--array=0', '--time=2', '--signal=B:USR1@60')}_0"
    cluster.wait(lambda: attrs(cluster.trial(queue)).get("given_back") == "SIGUSR1")
    cluster.wait(lambda: cluster.state(job) == "PENDING")
    assert len(list(cluster.checkpoints.rglob("*.pt"))) == 1


def test_a_cancelled_job_gives_back_and_stays_away(cluster: Cluster) -> None:
    queue = cluster.create("long", lr=[0.1], epochs=5000)
    array = cluster.sbatch("long", "--array=0-1")
    cluster.wait_for_epoch(queue, 1)
    cluster.run("scancel", array)
    cluster.wait(lambda: not cluster.state(array))
    assert cluster.trial(queue).state == TrialState.WAITING
    assert attrs(cluster.trial(queue))["given_back"].startswith("SIG")
    assert len(list(cluster.checkpoints.rglob("*.pt"))) == 1


def test_a_password_in_the_environment_is_refused(cluster: Cluster) -> None:
    queue = cluster.create("one", lr=[0.1], epochs=1)
    cluster.environment["RIGL_STUDY_STORAGE"] = cluster.url.secret()
    job = cluster.sbatch("one", "--array=0")
    cluster.wait(lambda: not cluster.state(job))
    assert "RIGL_STUDY_STORAGE_PASSWORD_FILE" in cluster.logs()
    assert cluster.password not in cluster.logs()
    assert cluster.trial(queue).state == TrialState.WAITING


def test_launched_jobs_train_a_grid_and_leave_no_password(cluster: Cluster) -> None:
    queue = cluster.create("grid", lr=[0.05, 0.1, 0.2], epochs=2)
    cluster.environment |= {"RIGL_STUDY_STORAGE": cluster.url.secret()}
    folder = cluster.folder / "jobs"
    jobs = cluster.launch("grid", "--workers", "2", "--folder", str(folder))
    assert len(jobs) == 2
    assert (folder.stat().st_mode & 0o777, (folder / "password").stat().st_mode & 0o777) == (0o700, 0o600)
    (folder / "password").rename(folder / "aside")  # what is left shows the password nowhere
    assert not any(cluster.password.encode() in file.read_bytes() for file in folder.iterdir() if file.name != "aside")
    (folder / "aside").rename(folder / "password")
    seen = ""

    def over() -> bool:
        nonlocal seen
        seen += _environments(jobs[0].partition("_")[0])
        return not any(map(cluster.state, jobs))

    cluster.wait(over)
    assert queue.counts().complete == 3
    assert cluster.password not in seen + cluster.logs()
    assert "RIGL_STUDY_STORAGE=" in seen
    assert not (folder / "password").exists(), "removed by the last job"


def test_sbatchs_refusal_is_one_line_and_leaves_nothing(cluster: Cluster) -> None:
    cluster.create("one", lr=[0.1], epochs=1)
    folder = cluster.folder / "jobs"
    command: list[Any] = ["rigl-study", "launch", "slurm", "--workers", "1", "--partition", "moon", "--folder", folder]
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "sbatch refused" in line
    assert "partition" in line
    assert not folder.exists()
