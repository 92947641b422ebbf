"""Several workers on one machine, each a process of its own.

A worker process gets everything it needs, the storage URL with its password included, as one line of JSON on its
standard input: command lines and environments can be read by others. The same pipe tells it when its parent is gone.
"""

import contextlib
import json
import logging
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import IO

from studies.child import how_it_ended, import_path, python
from studies.database.storage_url import StorageUrl
from studies.storage import GRACE_SECONDS, HEARTBEAT_SECONDS
from workers.devices import FEWER_THREADS, threads_per_worker
from workers.loop import POLL_SECONDS
from workers.stop import NOTICES, SIGNALS, Stop

log = logging.getLogger("rigl_study.worker")

PROGRESS_SECONDS = 0.5
PASSED_ON = NOTICES[0]
_STOPPED_EARLY = tuple(-signum for signum in (*SIGNALS, *NOTICES))
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"Seconds before a crashed worker is started again: after the first crash, and at most, doubling in between."
TRY_AGAIN = 75
"What a worker ends with that lost its patience with the database, as sysexits.h has it; to the outside it is 1."
GPU_FAILED = 74
"Likewise of one whose GPU stopped computing: another process can often use it again."
_FOR_NOW = (TRY_AGAIN, GPU_FAILED)
SAID_WHY = 80
"""Added to the exit code of a worker that came to its end by itself, and said why if it failed. Any other code, 0 too,
is that of a worker which something else ended (`os._exit` in a library, an interpreter that could not start)."""
_SAID = (*_FOR_NOW, *(SAID_WHY + code for code in range(3)))


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
        precision: a key of PRECISIONS.
        deterministic, compiled: see `rigl_core.execution`.
        index: number of this worker among those of the pool, from 0.
        pool: a word that only the workers of one pool have; set for each pool.
        threads: how many to compute with.
        forever: wait for new tickets when all is done.
        max_trials: end after finishing so many.
        heartbeat_interval: seconds between signs of life.
        grace_period: seconds of silence after which another worker's trial is taken over.
        poll_seconds: seconds between two looks of an idle worker.
        log_format: "text" or "json".
        verbose: also log the beginning of each trial and every epoch.
    """

    storage: str | None
    home: str | None = None
    campaigns: tuple[str, ...] = ()
    checkpoint_dir: str
    data_dir: str | None = None
    device: str = "auto"
    precision: str = "auto"
    deterministic: bool = False
    compiled: bool = False
    index: int = 0
    pool: str = ""
    threads: int = 1
    forever: bool = False
    max_trials: int | None = None
    heartbeat_interval: int = HEARTBEAT_SECONDS
    grace_period: int = GRACE_SECONDS
    poll_seconds: float = POLL_SECONDS
    log_format: str = "text"
    verbose: bool = False

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

    How one dies is logged in one line. It is not started again: the others take over its ticket. With
    `settings.forever` one that a signal killed (out of memory, a crash in a library) is, after a pause, and so is one
    whose GPU failed, or that lost its patience with the database while others were in the middle of an epoch and did
    not notice. They are in sessions of their own, so that Ctrl-C in the terminal reaches only this process, which
    passes `stop` on, once.

    Arguments:
        settings: for all of them; `index` is set for each.
        n_workers: how many; see `studies.campaigns.check_worker_count`.
        stop: passed on as a notice, SIGUSR1. Use `workers.stop.on_signals`.
        output: file or descriptor for what the workers say; standard output is for results, so 2 by default.
        on_progress: called about twice a second meanwhile, for live output. If it raises, that is logged and the
            workers go on without: a display must not cost a training.
        on_alive: told as often how many workers run.

    Returns:
        The worst exit code, as a shell would tell it: 0 if all went well.
    """
    settings = replace(settings, threads=threads_per_worker(n_workers), pool=secrets.token_hex(8))
    places: list[_Place] = []
    try:
        for index in range(n_workers):
            places.append(_Place(replace(settings, index=index), output))
        _wait(places, stop, on_progress, on_alive or (lambda _: None))
    except BaseException:
        for place in places:
            place.process.kill()  # the second, hard stop
        raise
    finally:
        for place in places:
            place.bury()
    return max(place.exit_code(stop) for place in places)


class _Place:
    """One of the pool's places: the worker process in it, or that was in it last, and when the next one is due."""

    def __init__(self, settings: WorkerSettings, output: IO[str] | int) -> None:
        self._settings, self._output = settings, output
        self._began = time.monotonic()
        self._pause = FIRST_PAUSE
        self._due: float | None = None
        self._is_told = False
        self.process = _start(settings, output)

    def is_open(self, stop: Stop) -> bool:
        """Whether there is a worker here or will be one again; starts it when it is due."""
        code = self.process.poll()
        if code is None:
            return True
        if not self._settings.forever or stop.is_set() or (code >= 0 and code not in _FOR_NOW):
            self._tell_end(code, stop)
            return False
        now = time.monotonic()
        if self._due is None:
            if now - self._began > LONGEST_PAUSE:  # it had worked for a while
                self._pause = FIRST_PAUSE
            self._wait_before_next(_how_it_ended(code))
        elif now >= self._due:
            self._start_again()
        return True

    def has_lost_patience(self) -> bool:
        """Whether there is no worker here just now because the database was away for too long."""
        return self._due is not None and self.process.returncode == TRY_AGAIN

    def wait(self, seconds: float, stop: Stop) -> None:
        """Until the worker ends, at most so long; where there is none, until it is time to look again."""
        if self._due is not None:
            stop.wait(seconds)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)

    def bury(self) -> None:
        """Wait for the worker's end and close what leads to it."""
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it ended before it had read its settings
                self.process.stdin.close()

    def exit_code(self, stop: Stop) -> int:
        """The last worker's, as a shell would tell it."""
        code = self.process.returncode
        if stop.is_set() and (code in _STOPPED_EARLY or self._due is not None):
            return 0  # stopped before it could even have claimed, where it would have caught this, or between two
        if code in _FOR_NOW:
            return 1
        if code in _SAID:
            return code - SAID_WHY
        return code or 1 if code >= 0 else 128 - code

    def _tell_end(self, code: int, stop: Stop) -> None:
        """Say, once, how a worker ended that could not say it itself, and what becomes of its trial."""
        if self._is_told or self._due is not None or code in _SAID or (stop.is_set() and code in _STOPPED_EARLY):
            return
        self._is_told = True
        log.error("worker %d %s", self._settings.index, f"{_how_it_ended(code)}; {self._fate()}.")

    def _fate(self) -> str:
        grace = self._settings.grace_period
        return (
            f"if it had a trial, that is taken over after {grace} s without a sign of life, by another worker or the "
            "next `rigl-study work`, from its last checkpoint"
        )

    def _start_again(self) -> None:
        self.bury()
        self._began = time.monotonic()
        try:
            self.process = _start(self._settings, self._output)
        except OSError as error:  # no memory for another process: what killed the last one may be going on
            self._wait_before_next(f"cannot be started: {error.strerror or error}")
        else:
            self._due = None

    def _wait_before_next(self, what: str) -> None:
        log.warning("worker %d %s; it is started again in %.0f s", self._settings.index, what, self._pause)
        self._due = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


def _how_it_ended(code: int) -> str:
    if code == TRY_AGAIN:
        return "has lost its patience"
    if code == GPU_FAILED:
        return "has lost its GPU"
    return how_it_ended(code) if code < 0 else f"{how_it_ended(code)} and did not say why"


def _start(settings: WorkerSettings, output: IO[str] | int) -> subprocess.Popen[str]:
    left_out = ("RIGL_STUDY_STORAGE", *FEWER_THREADS)
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= import_path()
    # Read when torch is loaded, before anything could be told it.
    environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(settings.threads)
    worker = subprocess.Popen(
        python("workers"),
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended at once, and its exit code will tell
        worker.stdin.write(settings.to_json() + "\n")
        worker.stdin.flush()  # and kept open: the worker sees its end when this process is gone
    return worker


def _wait(
    places: list[_Place],
    stop: Stop,
    on_progress: Callable[[], None] | None,
    on_alive: Callable[[int], None],
) -> None:
    told = False
    while still := [place for place in places if place.is_open(stop)]:
        if all(place.has_lost_patience() for place in still):
            return  # the database is away for all: whoever started the pool decides
        on_alive(sum(place.process.poll() is None for place in still))
        if stop.is_set() and not told:
            told = True
            for place in still:
                # Not SIGTERM: who stops this process may send that to the workers too, and their second one kills.
                place.process.send_signal(PASSED_ON)
        if on_progress is not None:
            try:
                on_progress()
            except Exception as error:
                log.warning("progress is not shown any more: %s: %s", type(error).__name__, error)
                on_progress = None
        for place in still:
            place.wait(PROGRESS_SECONDS / len(still), stop)
