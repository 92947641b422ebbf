"""Workers and commands as processes of their own that start in milliseconds.

They are forked from a process that has imported everything, which takes others seconds of processor time, and run what
`python -m workers` and `python -m studies` run, with an environment, a folder, streams and an exit code of their own.
Tests of how a pool starts its workers, of terminals and of signals to a command start them as people do.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import studies.cli
import workers.__main__
from workers.pool import WorkerSettings

CONTEXT = multiprocessing.get_context("forkserver")
"""Forks processes for other tests, too."""
CONTEXT.set_forkserver_preload(
    [
        *("tests.forked", "studies.campaigns", "studies.storage", "studies.overview", "studies.report"),
        *("sqlalchemy.dialects.postgresql", "workers.objective", "workers.tidy"),
        "torch._dynamo",  # what the first step of any optimizer loads
    ]
)


class Command:
    """`python -m studies ARGUMENTS`, started in this folder and this environment.

    Arguments:
        arguments: of the command line.
        variables: of the environment, beside or instead of those of this process.
    """

    def __init__(self, *arguments: str, variables: Mapping[str, str] | None = None) -> None:
        self._arguments = arguments
        self._folder = tempfile.TemporaryDirectory()
        self._streams = [Path(self._folder.name, name) for name in ("stdin", "stdout", "stderr")]
        environment = {**os.environ, **(variables or {})}
        self._process = CONTEXT.Process(
            target=_command, args=(arguments, environment, os.getcwd(), [str(path) for path in self._streams])
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def finish(self) -> "subprocess.CompletedProcess[str]":
        """Wait for its end, and tell what it said."""
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        out, err = (path.read_text() for path in self._streams[1:])
        self._process.close()
        self._folder.cleanup()
        return subprocess.CompletedProcess(self._arguments, code, out, err)


class Worker:
    """A worker process, to be treated as a `subprocess.Popen`.

    Arguments:
        settings: what it works on.
        log: the file for all it writes.
        before: Python that it runs first.
    """

    def __init__(self, settings: WorkerSettings, log: Path, before: str = "") -> None:
        end, self._pipe = CONTEXT.Pipe(duplex=False)
        self._log = log
        arguments = (end, str(log), dict(os.environ), before)
        self._process = CONTEXT.Process(target=_worker, args=arguments, daemon=True)
        self._process.start()
        end.close()
        os.write(self._pipe.fileno(), (settings.to_json() + "\n").encode())
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def said(self) -> str:
        """What it wrote so far."""
        return self._log.read_text() if self._log.exists() else ""

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(["workers"], timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def hang_up(self) -> None:
        """Close the pipe, as the end of its parent does."""
        if not self._pipe.closed:
            self._pipe.close()

    def close(self) -> None:
        """Kill it if it still runs."""
        self.kill()
        self.wait()
        self.hang_up()
        self._process.close()


def _command(arguments: tuple[str, ...], environment: dict[str, str], folder: str, streams: list[str]) -> None:
    _become(environment, streams)
    os.chdir(folder)
    sys.argv = ["studies", *arguments]
    studies.cli.app()


def _worker(settings: Connection, log: str, environment: dict[str, str], before: str) -> None:
    _become(environment, [os.devnull, log, log])
    os.dup2(settings.fileno(), 0)
    settings.close()
    exec(before, {})  # noqa: S102  written by the test itself
    sys.exit(workers.__main__.main())


def _become(environment: dict[str, str], streams: list[str]) -> None:
    """Take over an environment and three files for the standard streams."""
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate(streams):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  it is the process's as long as that lives
