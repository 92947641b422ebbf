"""A small file in which the parent of a pool of workers says that it is there; standard library only.

It says, too, for how long the database has not answered. To read it asks no database.
"""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from studies.errors import BadInput, RiglStudyError
from studies.whole_file import replacing

log = logging.getLogger("rigl_study.worker")

WRITE_SECONDS = 5.0
MAX_AGE_SECONDS = 60.0
MAX_WAIT_SECONDS = 60.0


class Unhealthy(RiglStudyError):
    """No workers have said lately that they are there."""


@dataclass(frozen=True)
class Health:
    """What the file says, as JSON.

    Attributes:
        pid: process id of the pool's parent.
        time: when it was written, in UTC (ISO 8601).
        workers: how many worker processes there should be.
        alive: how many of them run; 0 while the parent still waits for the database.
        unanswered: seconds since the parent asked the database the first question after the last answer; 0 if all are
            answered.
    """

    pid: int
    time: str
    workers: int
    alive: int
    unanswered: float = 0.0


class HealthFile:
    """Writes the file at once and then every few seconds, for as long as the body of a `with` runs, and removes it.

    Arguments:
        path: the file; None writes nothing.
        workers: how many worker processes there are to be.
        unanswered_for: tells Health.unanswered.
    """

    def __init__(self, path: Path | None, workers: int, unanswered_for: Callable[[], float] = lambda: 0.0) -> None:
        self._unanswered_for = unanswered_for
        self._path, self._workers, self._alive = path, workers, 0
        self._done = threading.Event()
        # A thread of its own: the main one may wait for the database.
        self._thread = threading.Thread(target=self._write_on, name="health file", daemon=True)

    def tell(self, alive: int) -> None:
        """How many worker processes run now."""
        self._alive = alive

    def __enter__(self) -> Self:
        """Write it for the first time.

        Raises:
            BadInput: it cannot be written.
        """
        if self._path is not None:
            try:
                self._write(self._path)
            except (OSError, ValueError) as error:  # ValueError: a null byte in the path
                reason = getattr(error, "strerror", None) or error
                raise BadInput(f"cannot write the health file {self._path}: {reason}; name another.") from None
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._path is not None:
            self._thread.join()
            with contextlib.suppress(OSError):  # it grows old, then; what was trained is not failed for that
                self._path.unlink()

    def _write_on(self) -> None:
        assert self._path is not None
        failing = False
        while not self._done.wait(WRITE_SECONDS):
            try:
                self._write(self._path)
                failing = False
            except OSError as error:  # it grows old then, which `check` sees
                if not failing:
                    log.warning("cannot write the health file %s: %s", self._path, error.strerror or error)
                failing = True

    def _write(self, path: Path) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        unanswered = round(self._unanswered_for(), 1)
        health = Health(os.getpid(), now, self._workers, self._alive, unanswered)
        with replacing(path) as new:
            new.write_text(json.dumps(asdict(health)) + "\n", encoding="utf-8")


def check(path: Path, max_age: float = MAX_AGE_SECONDS, max_wait: float = MAX_WAIT_SECONDS) -> str:
    """One line that tells how the workers are whose health file this is.

    Arguments:
        path: the file that `rigl-study work --health-file` writes.
        max_age: seconds after which what it says does not count any more.
        max_wait: seconds for which the database may leave questions without an answer.

    Raises:
        Unhealthy: it is missing, is no health file, is too old (or from the future: a clock was set back), or tells of
            a database that has not answered for too long.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        health = Health(**content)
        age = (datetime.now(UTC) - datetime.fromisoformat(health.time)).total_seconds()
    except FileNotFoundError:
        raise Unhealthy(f"there is no health file {path}: no workers run with --health-file {path}.") from None
    except OSError as error:
        raise Unhealthy(f"cannot read the health file {path}: {error.strerror or error}.") from None
    except (TypeError, ValueError):
        raise Unhealthy(f"{path} is no health file of rigl-study; name the one of `work --health-file`.") from None
    told = f"{health.alive} of {health.workers} worker processes run (process {health.pid}, {max(0.0, age):.0f} s ago)"
    if age < -max_age:
        raise Unhealthy(f"{path} was written {-age:.0f} s from now: a clock was set back. It says: {told}.")
    if not age <= max_age:
        raise Unhealthy(f"{path} was written {age:.0f} s ago, more than {max_age:g} s; it says: {told}.")
    if not health.unanswered <= max_wait:
        raise Unhealthy(
            f"the database has not answered for {health.unanswered:.0f} s, more than {max_wait:g} s; {path} says: "
            f"{told}."
        )
    return told
