"""The embedded Postgres: a real server for whoever has none, started on first use and gone after the last.

Every process that uses it holds a lease, a shared lock the kernel gives back when the process dies. A small keeper
process (`keeper.py`) runs the server and stops it some time after the last lease is gone. Nothing here depends on
pid files: who holds which lock says what runs.

On Linux the server also goes when its keeper is killed. Elsewhere it then runs on until `stop()`.
"""

import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg2

from rigl_core.paths import variable
from studies.database import keeper
from studies.database.embedded_files import DATABASE, SUPERUSER, ServerFiles, default_home, initialise, locate, programs
from studies.database.file_locks import can_be_shared, locked, open_lock, try_locked
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, StorageError

logger = logging.getLogger("rigl_study.storage")

START_SECONDS = 120.0  # crash recovery after a long run replays up to a gigabyte of log
STOP_SECONDS = 60.0
LINGER_SECONDS = 60.0

# Leases belong to the process, not to an object: one for each server directory.
_leases: dict[Path, int] = {}
_leases_lock = threading.RLock()


@dataclass(frozen=True)
class ServerStatus:
    """What `EmbeddedPostgres.status` found.

    Arguments:
        running: whether keeper or server are there, be it starting or stopping.
        url: where it listens when it runs, else None.
        keeper_pid: the keeper's process when it runs, else None.
        data: the cluster's directory.
        pinned: whether it stays without clients.
        size: bytes the cluster takes on disk.
    """

    running: bool
    url: StorageUrl | None
    keeper_pid: int | None
    data: Path
    pinned: bool
    size: int


class EmbeddedPostgres:
    """The embedded server of one home directory.

    Arguments:
        home: where it lives; `None` means `RIGL_STUDY_HOME`, else the user's data directory (/var/lib/rigl-study for
            root).
        fsync: whether stored results survive a power cut. Off for tests only.
    """

    def __init__(self, home: Path | None = None, *, fsync: bool = True) -> None:
        self.home = (default_home() if home is None else home).absolute()
        self._fsync = fsync

    def ensure_running(self) -> StorageUrl:
        """Start the server unless it runs, keep it running while this process lives, and say where it listens.

        Raises:
            StorageError: it cannot be started; the message has the server's last words.
        """
        files = locate(self.home)
        with _leases_lock:
            _take_lease(files)
            with locked(files.directory / "start.lock"):
                return self._running_url(files)

    def start(self) -> StorageUrl:
        """Start the server and pin it: it stays, without clients too, until `stop()`.

        Raises:
            StorageError: it cannot be started.
        """
        url = self.ensure_running()
        (locate(self.home).directory / "pinned").touch()
        return url

    def stop(self) -> bool:
        """Take off the pin, give this process's lease back, and stop the server. Whether it was running.

        Raises:
            StorageError: other processes use it (it then stops by itself after the last of them), or it does not stop.
        """
        files = locate(self.home)
        (files.directory / "pinned").unlink(missing_ok=True)
        with _leases_lock:
            self.release()
            clients, began = files.directory / "clients.lock", time.monotonic()
            while True:
                # Held while the server stops: whoever comes now waits until it is gone, and starts it anew.
                with try_locked(clients) as alone:
                    if alone:
                        return _stop_server(files)
                # The keeper, too, holds it alone, from the last client's end to the server's. Clients share it.
                waited = time.monotonic() - began
                if waited > 1.0 and can_be_shared(clients):
                    raise StorageError(
                        "other processes use the embedded database; it stops by itself when the last of them is done"
                    )
                if waited > STOP_SECONDS:
                    raise StorageError(f"the embedded database does not stop: {_last_words(files)}")
                time.sleep(0.02)

    def release(self) -> None:
        """Give this process's lease back: without other clients the server stops after its linger time."""
        with _leases_lock:
            lease = _leases.pop(locate(self.home).directory, None)
            if lease is not None:
                os.close(lease)

    def status(self) -> ServerStatus:
        """What runs where. Starts nothing, and takes no lease."""
        files = locate(self.home)
        with locked(files.directory / "start.lock"):
            running = _is_running(files)
        state = _read_state(files) if running else None
        return ServerStatus(
            running=running,
            url=None if state is None else self._url(files, state.port),
            keeper_pid=None if state is None else state.keeper_pid,
            data=files.data,
            pinned=(files.directory / "pinned").exists(),
            size=files.size(),
        )

    def _url(self, files: ServerFiles, port: int) -> StorageUrl:
        text = f"postgresql://{SUPERUSER}:{files.password()}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"
        return replace(StorageUrl.parse(text), embedded_home=self.home)

    def _running_url(self, files: ServerFiles) -> StorageUrl:
        """Adopt the server or start it; the caller holds a lease and the start lock."""
        deadline = time.monotonic() + START_SECONDS
        starts = 0
        while time.monotonic() < deadline:
            if not _is_running(files):
                if starts == 3:
                    raise StorageError(f"the embedded database does not start: {_last_words(files)}")
                starts += 1
                initialise(files, fsync=self._fsync)
                _launch_keeper(files, _choose_port(files), fsync=self._fsync)
            state = _read_state(files)
            if state is not None and state.host != socket.gethostname():
                raise StorageError(
                    f"the embedded database in {files.directory} runs on {state.host} and serves only that machine. "
                    "Set RIGL_STUDY_HOME to a local directory, or name a Postgres server with --storage."
                )
            if state is not None and _answers(files, state.port):
                return self._url(files, state.port)
            time.sleep(0.02)
        raise StorageError(f"the embedded database did not answer for {START_SECONDS:g} s: {_last_words(files)}")


@dataclass(frozen=True)
class _State:
    port: int
    host: str
    keeper_pid: int


def _read_state(files: ServerFiles) -> _State | None:
    with contextlib.suppress(FileNotFoundError):
        return _State(**json.loads((files.directory / "state.json").read_text()))
    return None


def _take_lease(files: ServerFiles) -> None:
    """Hold clients.lock shared until the process dies; waits while a keeper is stopping the server."""
    if files.directory not in _leases:
        lease = open_lock(files.directory / "clients.lock")
        fcntl.flock(lease, fcntl.LOCK_SH)
        _leases[files.directory] = lease


def _is_running(files: ServerFiles) -> bool:
    """Whether keeper or server live. Only under start.lock: a keeper that just starts must find its lock free."""
    with try_locked(files.directory / "keeper.lock") as free:
        return not free


def _launch_keeper(files: ServerFiles, port: int, *, fsync: bool) -> None:
    _remove_stale_pid_file(files)
    if files.log.exists() and files.log.stat().st_size > 1_000_000:
        files.log.replace(files.log.with_name("postgres.log.1"))
    # -I -S: nothing but the standard library, whatever the environment or the working directory hold.
    command = [sys.executable, "-I", "-S", keeper.__file__, str(files.directory)]
    command += ["--postgres", str(programs(files) / "postgres"), "--port", str(port), "--linger", str(_linger())]
    command += [] if files.user is None else ["--user", files.user]
    command += [] if fsync else ["--no-fsync"]
    with open(files.directory / "keeper.log", "ab") as log:
        nothing = subprocess.DEVNULL
        done = subprocess.run(command, stdin=nothing, stdout=log, stderr=log, cwd="/", start_new_session=True)
    if done.returncode != 0:
        raise StorageError(f"the embedded database's keeper does not start; see {files.directory / 'keeper.log'}")
    logger.info("started the embedded database in %s on port %d", files.directory, port)


def _linger() -> float:
    text = variable("RIGL_STUDY_LINGER")
    try:
        seconds = LINGER_SECONDS if text is None else float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise BadInput(f'RIGL_STUDY_LINGER is "{text}"; give the seconds the embedded database outlives its last user.')
    return seconds


def _remove_stale_pid_file(files: ServerFiles) -> None:
    """Remove what a killed server left: Postgres would take any process that has the same pid by now for itself.

    keeper.lock already says that no server of ours runs. The one exception, a server somebody started by hand, is
    recognised by its working directory; where that cannot be seen, Postgres decides.
    """
    pid_file = files.data / "postmaster.pid"
    if sys.platform != "linux" or not pid_file.exists():
        return
    pid = pid_file.read_text().partition("\n")[0]
    with contextlib.suppress(OSError):  # no such process, or another user's
        if Path(f"/proc/{pid}/cwd").resolve(strict=True) == files.data.resolve():
            raise StorageError(f"process {pid} runs a Postgres on {files.data} that rigl-study did not start; stop it.")
    pid_file.unlink()


def _choose_port(files: ServerFiles) -> int:
    """The last port, so that clients find the server again after a crash; a free one if another program has it now."""
    state = _read_state(files)
    for port in (0 if state is None else state.port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Postgres does: TIME_WAIT is no obstacle
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise StorageError("no free port on 127.0.0.1 for the embedded database")


def _answers(files: ServerFiles, port: int) -> bool:
    """Whether the server takes connections. The first time, this is also what creates the database."""
    try:
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=port,
            user=SUPERUSER,
            password=files.password(),
            dbname="postgres",
            sslmode="disable",
            connect_timeout=5,
        )
        with contextlib.closing(connection), connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg2.OperationalError:
        return False
    return True


def _stop_server(files: ServerFiles) -> bool:
    """Stop what runs and wait until it is gone; the caller holds clients.lock exclusively. Whether something ran."""
    if not _is_running(files):
        return False
    state = _read_state(files)
    assert state is not None, "the keeper writes it before it lets anybody know that it runs"
    try:
        os.kill(state.keeper_pid, signal.SIGTERM)
    except ProcessLookupError:  # killed: on Linux the server is going already, elsewhere nobody told it
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = int((files.data / "postmaster.pid").read_text().partition("\n")[0])
            os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    while _is_running(files):
        if time.monotonic() > deadline:
            raise StorageError(f"the embedded database does not stop: {_last_words(files)}")
        time.sleep(0.02)
    return True


def _last_words(files: ServerFiles) -> str:
    if not files.log.exists():
        return f"see {files.directory / 'keeper.log'}"
    said = "; ".join(files.log.read_text(errors="replace").splitlines()[-3:])
    return f"{said or 'it said nothing'} (more in {files.log})"
