"""Several workers on one machine, each a process of its own.

A worker process gets everything it needs, the storage URL with its password included, as one line of JSON on its
standard input: command lines and environments can be read by others. The same pipe tells it when its parent is gone.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import IO

from studies.database.storage_url import StorageUrl
from studies.storage import GRACE_SECONDS, HEARTBEAT_SECONDS
from workers.devices import threads_per_worker
from workers.loop import POLL_SECONDS
from workers.stop import Stop

log = logging.getLogger("rigl_study.worker")

PROGRESS_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker process works on, and with what. Only plain values: it is sent as JSON.

    Attributes:
        storage: the URL, with its password; None for the embedded Postgres in `home`.
        home: `RIGL_STUDY_HOME` of that server.
        campaigns: what to work on; empty for all there are.
        checkpoint_dir: where checkpoints are.
        data_dir: where to look for data sets first.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        index: number of this worker among those of the pool, from 0.
        threads: how many to compute with.
        forever: wait for new tickets when all is done.
        max_trials: end after finishing so many.
        heartbeat_interval: seconds between signs of life.
        grace_period: seconds of silence after which another worker's trial is taken over.
        poll_seconds: seconds between two looks of an idle worker.
        log_format: "text" or "json".
    """

    storage: str | None
    home: str | None = None
    campaigns: tuple[str, ...] = ()
    checkpoint_dir: str
    data_dir: str | None = None
    device: str = "auto"
    index: int = 0
    threads: int = 1
    forever: bool = False
    max_trials: int | None = None
    heartbeat_interval: int = HEARTBEAT_SECONDS
    grace_period: int = GRACE_SECONDS
    poll_seconds: float = POLL_SECONDS
    log_format: str = "text"

    @classmethod
    def storage_of(cls, url: StorageUrl) -> Mapping[str, str | None]:
        """The attributes `storage` and `home` for `url`."""
        if url.embedded_home is not None:
            return {"storage": None, "home": str(url.embedded_home)}
        return {"storage": url.secret(), "home": None}

    @classmethod
    def from_json(cls, text: str) -> "WorkerSettings":
        """What `to_json` wrote."""
        content = json.loads(text)
        return cls(**{**content, "campaigns": tuple(content["campaigns"])})

    def to_json(self) -> str:
        """One line that holds secrets: not for command lines, environments or logs."""
        return json.dumps(asdict(self))


def run_workers(
    settings: WorkerSettings,
    n_workers: int,
    stop: Stop,
    *,
    output: IO[str] | int = 2,
    on_progress: Callable[[], None] | None = None,
    on_alive: Callable[[int], None] | None = None,
) -> int:
    """Run worker processes until all have ended.

    None of them is started again; the others take over the ticket of one that dies. They are in sessions of their
    own, so that Ctrl-C in the terminal reaches only this process, which passes `stop` on, once.

    Arguments:
        settings: for all of them; `index` is set for each.
        n_workers: how many; see `studies.campaigns.check_worker_count`.
        stop: passed on as SIGTERM. Use `workers.stop.on_signals`.
        output: file or descriptor for what the workers say; standard output is for results, so 2 by default.
        on_progress: called about twice a second meanwhile, for live output. If it raises, that is logged and the
            workers go on without: a display must not cost a training.
        on_alive: told as often how many workers run.

    Returns:
        The worst exit code, as a shell would tell it: 0 if all went well.
    """
    settings = replace(settings, threads=threads_per_worker(n_workers))
    workers: list[subprocess.Popen[str]] = []
    try:
        for index in range(n_workers):
            workers.append(_start(replace(settings, index=index), output))
        _wait(workers, stop, on_progress, on_alive or (lambda _: None))
    except BaseException:
        for worker in workers:
            worker.kill()  # the second, hard stop
        raise
    finally:
        for worker in workers:
            worker.wait()
            if worker.stdin is not None:
                worker.stdin.close()
    return max(_exit_code(worker, stop) for worker in workers)


def _start(settings: WorkerSettings, output: IO[str] | int) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RIGL_STUDY_STORAGE"}
    # Read when torch is loaded, before anything could be told it.
    environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(settings.threads)
    worker = subprocess.Popen(
        [sys.executable, "-m", "workers"],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert worker.stdin is not None
    try:
        worker.stdin.write(settings.to_json() + "\n")
        worker.stdin.flush()  # and kept open: the worker sees its end when this process is gone
    except BrokenPipeError:
        log.warning("worker %d ended at once", settings.index)
    return worker


def _wait(
    workers: list[subprocess.Popen[str]],
    stop: Stop,
    on_progress: Callable[[], None] | None,
    on_alive: Callable[[int], None],
) -> None:
    told = False
    while n_alive := sum(worker.poll() is None for worker in workers):
        on_alive(n_alive)
        if stop.is_set() and not told:
            told = True
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
        if on_progress is not None:
            try:
                on_progress()
            except Exception as error:
                log.warning("progress is not shown any more: %s: %s", type(error).__name__, error)
                on_progress = None
        for worker in workers:
            try:
                worker.wait(PROGRESS_SECONDS / len(workers))
            except subprocess.TimeoutExpired:
                continue


def _exit_code(worker: subprocess.Popen[str], stop: Stop) -> int:
    if stop.is_set() and worker.returncode == -signal.SIGTERM:
        return 0  # stopped before it could even have claimed: later on it would have caught this
    return worker.returncode if worker.returncode >= 0 else 128 - worker.returncode
