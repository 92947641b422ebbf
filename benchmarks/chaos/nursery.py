"""A process that has loaded torch already and forks workers, each in milliseconds instead of seconds.

Run by `site.Nursery`. Of the two seconds of processor time that a worker takes to start almost all are imports (torch,
then SQLAlchemy, Optuna and pydantic), and a harness that kills hundreds would do little else. What is forked runs
`workers.__main__.main` as a worker started the usual way does: settings from a pipe on standard input.

    standard input    one JSON line a worker: {"settings": LINE, "log": PATH}; its end kills all workers
    standard output   "clock SECONDS" once, then "started PID" for each and "ended PID CODE" when one is gone
"""

import contextlib
import gc
import json
import os
import select
import signal
import sys
import threading
import time
from typing import Any

import torch._dynamo  # noqa: F401  what the first step of any optimizer loads, in more than a second

import workers.__main__
import workers.objective
import workers.tidy


def main() -> None:
    """Fork what is asked for until standard input ends."""
    _say(f"clock {time.time():.3f}")
    if "FAKETIME" in os.environ:
        # libfaketime 0.9.10 shifts the monotonic deadlines of clock_nanosleep, too, and sleeps end with EINVAL.
        time.sleep = _sleep  # type: ignore[assignment]
    gc.freeze()  # or each child would soon copy all of it, only to look for garbage
    pipes: dict[int, int] = {}
    unread = b""
    while True:
        if select.select([0], [], [], 0.02)[0]:
            if not (got := os.read(0, 65536)):
                break
            *lines, unread = (unread + got).split(b"\n")
            for line in lines:
                pid, pipe = _start(json.loads(line))
                pipes[pid] = pipe
                _say(f"started {pid}")
        _bury(pipes, os.WNOHANG)
    for pid in pipes:
        os.kill(pid, signal.SIGKILL)
    while pipes:
        _bury(pipes, 0)


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


def _bury(pipes: dict[int, int], how: int) -> None:
    """Take note of those that ended."""
    while pipes:
        pid, status = os.waitpid(-1, how)
        if pid == 0:
            return
        os.close(pipes.pop(pid))
        _say(f"ended {pid} {os.waitstatus_to_exitcode(status)}")


def _start(asked: dict[str, Any]) -> tuple[int, int]:
    """Fork a worker; its process and the pipe that tells it that we live."""
    end, pipe = os.pipe()
    os.write(pipe, (asked["settings"] + "\n").encode())
    if (pid := os.fork()) != 0:
        os.close(end)
        return pid, pipe
    code = 1
    try:
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for old, new in ((end, 0), (log, 1), (log, 2)):
            os.dup2(old, new)
        os.closerange(3, 1024)  # the other workers' pipes
        code = workers.__main__.main()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _say(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more; our standard input tells it as well
        os.write(1, (line + "\n").encode())


if __name__ == "__main__":
    main()
