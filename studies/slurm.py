"""Workers as jobs of SLURM, submitted through submitit.

Every job runs `rigl-study work` with one worker. Before its time is up, or when it is preempted, it gets a signal; its
worker then gives the trial back with its checkpoint, and the job is queued again by itself, as often as it takes.

A job is told the storage URL without its password, and the path of a file that holds that: neither the command line,
nor the environment of the job, nor the pickled job show it. The last job to end removes the file.
"""

import contextlib
import io
import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import sqlalchemy as sa

from studies.child import how_it_ended, import_path, python
from studies.database.password_file import PASSWORD_FILE_VARIABLE
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, LaunchError

log = logging.getLogger("rigl_study.slurm")

STORAGE_VARIABLE = "RIGL_STUDY_STORAGE"
PASSWORD_FILE = "password"

_NOTICES = (signal.SIGUSR1, signal.SIGUSR2)
# submitit counts how often a job ran out of time. A worker ends by itself when its campaigns are done; until then, any
# number of times is right.
_ANY_NUMBER_OF_TIMES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class SlurmJobs:
    """What to ask SLURM for.

    Attributes:
        n_jobs: how many, as one array.
        minutes: time limit of each; SLURM knows nothing shorter than one.
        notice: seconds before the time limit at which the worker is told to give its trial back.
        partition: None for the cluster's default.
        gpus: a job, 0 or more.
        cpus: a job; None for the cluster's default.
        array_parallelism: how many jobs of the array may run at once; None for all.
        options: further options of sbatch, without the dashes, for example {"account": "physics", "exclusive": True};
            True for those without a value.
    """

    n_jobs: int
    minutes: int
    notice: int
    partition: str | None = None
    gpus: int = 0
    cpus: int | None = None
    array_parallelism: int | None = None
    options: Mapping[str, str | Literal[True]] = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        """The same in submitit's words."""
        asked = {
            "job_name": "rigl-study",
            "time": self.minutes,
            "signal_delay_s": self.notice,
            "partition": self.partition,
            "gres": f"gpu:{self.gpus}" if self.gpus else None,
            "cpus_per_task": self.cpus,
            # Since SLURM 22.05 a step does not take this over from its job.
            "srun_args": None if self.cpus is None else [f"--cpus-per-task={self.cpus}"],
            "array_parallelism": self.array_parallelism or self.n_jobs,
            "stderr_to_stdout": True,
            "additional_parameters": {"requeue": True, "ntasks": 1, **self.options},
        }
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True)
class WorkJob:
    """What a job does. Pickled by submitit, so it holds no secret.

    Attributes:
        arguments: of `rigl-study work`.
        environment: added to the job's own.
        n_jobs: how many jobs share the folder.
        folder: where the password file is, if there is one.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    n_jobs: int
    folder: str

    def __call__(self) -> None:
        """Run the worker until it is done, or until a signal: then queue this job again, unless it was cancelled.

        Raises:
            LaunchError: the worker failed; what it said is in the job's log.
        """
        told: list[int] = []
        worker: subprocess.Popen[bytes] | None = None

        def pass_on(signum: int, _frame: FrameType | None) -> None:
            told.append(signum)
            if worker is not None:
                worker.send_signal(signal.SIGUSR1)  # a notice: harmless if the worker got one from SLURM as well

        before = {one: signal.signal(one, pass_on) for one in (*_NOTICES, signal.SIGTERM)}
        command = python("studies", "work", *self.arguments)
        worker = subprocess.Popen(command, env={**os.environ, **import_path(), **self.environment})
        if told:  # before there was a worker to tell
            worker.send_signal(signal.SIGUSR1)
        code = worker.wait()
        if told and _is_still_wanted():
            for signum in _NOTICES:
                handler = before[signum]
                if callable(handler):  # submitit's: keeps what `checkpoint` returns, queues the job again, and exits
                    handler(signum, None)
        self._end()
        if code != 0:
            why = (
                "its last lines say why"
                if code > 0
                else "the next job that works on the campaign goes on with its trials"
            )
            raise LaunchError(f"`rigl-study work` {how_it_ended(code)}; {why}.")

    def checkpoint(self) -> Any:
        """What submitit runs when the job is queued again: the same. Checkpoints are the worker's business."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _end(self) -> None:
        """Note that this job will not run again; the last one to do so removes the password."""
        folder = Path(self.folder)
        (folder / f"ended-{os.environ.get('SLURM_ARRAY_TASK_ID', '0')}").touch()
        if len(list(folder.glob("ended-*"))) >= self.n_jobs:
            (folder / PASSWORD_FILE).unlink(missing_ok=True)


def _is_still_wanted() -> bool:
    """Whether SLURM counts this job as running. After scancel or the time limit it does not, but would requeue it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    # Not SLURM_JOB_ID for an array: one of its jobs has that of the whole.
    job = os.environ["SLURM_JOB_ID"] if array is None else f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        log.warning("squeue does not answer, so that this job is not queued again: %s", asked.stderr.strip())
    return asked.stdout.strip() == "RUNNING"


def check_visible(url: StorageUrl, n_jobs: int) -> None:
    """Refuse a database that other machines of the cluster cannot see. A cluster of this one machine may use any.

    Raises:
        BadInput: it is on this machine only, and the cluster has others.
        LaunchError: SLURM does not answer.
    """
    host = None
    if url.kind == "postgresql":
        found = sa.make_url(url.secret())
        hosts = found.host or found.query.get("host") or ""
        host = hosts if isinstance(hosts, str) else hosts[0]
        if not (host in ("localhost", "::1", "[::1]") or host.startswith(("127.", "/"))):
            return
    if _nodes() == {socket.gethostname().partition(".")[0]}:
        return
    what = f"{url} is a file" if url.kind == "sqlite" else "the embedded Postgres is on this machine only"
    if url.embedded_home is None and host is not None:
        what = f"{url} is on this machine only ({host})"
    raise BadInput(
        f"{what}, where {n_jobs} {'job' if n_jobs == 1 else 'jobs'} on other machines cannot reach it; start one "
        "Postgres server that they can, and give its URL as --storage or RIGL_STUDY_STORAGE."
    )


def _nodes() -> set[str]:
    command = ["sinfo", "--noheader", "--Node", "--format=%N"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        raise LaunchError(f"SLURM does not answer: {(asked.stderr.strip() or 'sinfo failed').splitlines()[0]}")
    return {name.partition(".")[0] for name in asked.stdout.split()}


def check_slurm() -> None:
    """Refuse to go on where no job can be submitted.

    Raises:
        LaunchError: SLURM or submitit is not there.
    """
    if missing := [name for name in ("sbatch", "srun", "squeue", "sinfo") if shutil.which(name) is None]:
        raise LaunchError(
            f"there is no {missing[0]} here; run this where jobs are submitted, on a login node of a SLURM cluster."
        )
    _submitit()


def job_environment(url: StorageUrl, folder: Path) -> tuple[dict[str, str], str | None]:
    """How a job finds the database: variables without a secret, and the password that belongs into the file.

    Raises:
        BadInput: the URL has a secret among its query parameters, where no file can take its place.
    """
    if url.embedded_home is not None:
        return {"RIGL_STUDY_HOME": str(url.embedded_home)}, None
    if url.kind == "sqlite":
        return {STORAGE_VARIABLE: url.secret()}, None
    found = sa.make_url(url.secret())
    if "sslpassword" in found.query:
        raise BadInput(f"{url} has an sslpassword, which jobs would show; use a client key without one.")
    open_url = url.without_password()
    if found.password is None:
        return {STORAGE_VARIABLE: open_url}, None
    return {STORAGE_VARIABLE: open_url, PASSWORD_FILE_VARIABLE: str(folder / PASSWORD_FILE)}, found.password


def script(asked: SlurmJobs, folder: Path) -> str:
    """The batch script that `submit` would hand to sbatch. Writes nothing."""
    _submitit()
    from submitit.slurm.slurm import _make_sbatch_string  # private, but there is no other way to look before

    command = shlex.join([sys.executable, "-u", "-m", "submitit.core._submit", str(folder)])
    array = asked.n_jobs if asked.n_jobs > 1 else None
    text: str = _make_sbatch_string(command=command, folder=folder, map_count=array, **asked.parameters())
    return text


def submit(arguments: Sequence[str], url: StorageUrl, asked: SlurmJobs, folder: Path) -> list[str]:
    """Submit one array of jobs, each of which runs `rigl-study work` with `arguments`.

    Arguments:
        arguments: without the storage.
        url: the database.
        asked: how many jobs, and with what.
        folder: for scripts, logs and the password; a new one that every machine of the cluster sees under this path.

    Returns:
        The ids of the jobs.

    Raises:
        BadInput: the folder is there already or cannot be made, or see `job_environment`.
        LaunchError: sbatch refuses.
    """
    submitit = _submitit()
    environment, password = job_environment(url, folder)
    job = WorkJob(tuple(arguments), environment, asked.n_jobs, str(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise BadInput(f"cannot make the folder {folder}: {error.strerror}; choose another --folder.") from None
    try:
        if password is not None:
            _write_secret(folder / PASSWORD_FILE, password)
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=_ANY_NUMBER_OF_TIMES)
        executor.update_parameters(**asked.parameters())
        # sbatch copies the environment into the job. What it says comes back in the error, in one line.
        with _without(STORAGE_VARIABLE, PASSWORD_FILE_VARIABLE), contextlib.redirect_stderr(io.StringIO()):
            jobs = executor.submit_array([job] * asked.n_jobs)
    except submitit.core.utils.FailedJobError as error:
        shutil.rmtree(folder)
        said = [line for line in str(error).splitlines() if "sbatch: error" in line] or [str(error)]
        raise LaunchError(f"sbatch refused: {said[0].strip()}") from None
    except BaseException:
        shutil.rmtree(folder)
        raise
    return [str(one.job_id) for one in jobs]


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise LaunchError(
            "submitit is not installed; run: pip install 'rigl-study[slurm]' (in a clone: pip install '.[slurm]')."
        ) from None
    return submitit


def _write_secret(path: Path, secret: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(secret + "\n")


@contextlib.contextmanager
def _without(*names: str) -> Iterator[None]:
    """Take variables out of this process's environment while in the body."""
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)
