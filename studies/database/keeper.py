"""The keeper of the embedded Postgres: the server's parent, which stops it when its last client is gone.

Run as a program of its own (`python -I -S keeper.py SERVER_DIR ...`) by `embedded.py`; standard library only, so
that it starts in milliseconds and takes little memory for the hours it may live.

Three files in SERVER_DIR carry all that processes need to know of each other. The kernel gives locks back when a
process dies, whatever kills it, so none of this can go stale:

    clients.lock   every client holds it shared. The keeper waits for it exclusively: to get it means nobody is left.
                   It is held while the server stops, so that a client that comes just then waits, and starts anew.
    keeper.lock    held exclusively by keeper and server: whoever can lock it knows that neither runs.
    state.json     port, host and the keeper's pid; meaningful while keeper.lock is held.
"""

import argparse
import ctypes
import fcntl
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1

WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
"""What the keeper waits for. Blocked until it does, so that none arrives where nobody would act on it: while the server
is being started, or just before a wait that it was to end."""


def main() -> int:
    """Take the keeper's lock, go to the background, run the server until it ends or nobody needs it."""
    arguments = _parse_arguments()
    os.umask(0o077)
    directory: Path = arguments.directory
    lock = os.open(directory / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # The starter goes on when this process ends; by then the lock is taken, which the child inherits, and the state
    # is that of the server to come.
    if (child := os.fork()) != 0:
        _write_state(directory, arguments.port, child)
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # some systems drop one that has no handler, blocked or not
    server = _start_server(arguments, lock)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=_stop_when_unused, args=(directory, server, arguments.linger), daemon=True).start()
    while (code := server.poll()) is None:
        if signal.sigwait(WATCHED) != signal.SIGCHLD:
            server.send_signal(signal.SIGINT)
    return code


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="the server's directory, with its data in data/")
    parser.add_argument("--postgres", type=Path, required=True, help="the postgres program")
    parser.add_argument("--port", type=int, required=True, help="the port on 127.0.0.1")
    parser.add_argument("--linger", type=float, required=True, help="seconds to stay after the last client")
    parser.add_argument("--user", help="the user to run the server as; only root may give one")
    parser.add_argument("--no-fsync", action="store_true", help="data need not survive a power cut; for tests")
    return parser.parse_args()


def _write_state(directory: Path, port: int, keeper_pid: int) -> None:
    new = directory / "state.json.new"
    new.write_text(json.dumps({"port": port, "host": socket.gethostname(), "keeper_pid": keeper_pid}))
    new.replace(directory / "state.json")


def _start_server(arguments: argparse.Namespace, lock: int) -> "subprocess.Popen[bytes]":
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(arguments.port),
        "unix_socket_directories": "",
        "max_connections": "100",
        "logging_collector": "off",
        "jit": "off",  # compiling Optuna's queries takes longer than running them
    }
    if arguments.no_fsync:
        settings["fsync"] = "off"
    command = [str(arguments.postgres), "-D", str(arguments.directory / "data")]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    with open(arguments.directory / "postgres.log", "ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            # The lock stays taken until the last server process is gone, even when the keeper is killed.
            pass_fds=[lock],
            preexec_fn=before_server(os.getpid()),
            **identity(arguments.user),
        )


def identity(user: str | None) -> dict[str, Any]:
    """The arguments that make `subprocess` run a program as `user` and nothing more; none for `None`."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def before_server(keeper_pid: int) -> Callable[[], None]:
    """A hook for the child: SIGINT, by which Postgres stops cleanly, must find it from now on.

    On Linux the kernel sends one when the keeper is gone.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def hook() -> None:
        # Python's handler would take what comes before the server's program runs, and forget it there.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if sys.platform == "linux":
            # Runs after the change of user, which would clear the setting.
            if libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
            if os.getppid() != keeper_pid:  # it died before the setting took effect
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)

    return hook


def _stop_when_unused(directory: Path, server: "subprocess.Popen[bytes]", linger: float) -> None:
    clients = os.open(directory / "clients.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        fcntl.flock(clients, fcntl.LOCK_EX)
        fcntl.flock(clients, fcntl.LOCK_UN)
        time.sleep(linger)
        try:
            fcntl.flock(clients, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        if not (directory / "pinned").exists():
            break
        fcntl.flock(clients, fcntl.LOCK_UN)
        time.sleep(max(1.0, linger))  # pinned and unused: look again now and then, as the pin may be taken off
    server.send_signal(signal.SIGINT)
    # The lock is given back when `main` returns and the process ends.


if __name__ == "__main__":
    sys.exit(main())
