"""A PgBouncer in front of a Postgres, for as long as it is needed: for measurements and tests."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from studies.database.storage_url import StorageUrl

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
Mode = Literal["session", "transaction"]


@contextmanager
def kept_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nobody else is given, for a server that sets SO_REUSEADDR, as most do."""
    with socket.socket() as holder:
        # Bound and not listening: the kernel gives it to nobody, and who asks for it by its number gets it.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


@contextmanager
def pgbouncer(url: StorageUrl, mode: Mode, *, pool_size: int = 20) -> Iterator[StorageUrl]:
    """Run PgBouncer on 127.0.0.1 while in the body.

    Arguments:
        url: the Postgres behind it.
        mode: when a server connection goes back to the pool: at the end of a session or of a transaction.
        pool_size: server connections for each database and user.

    Yields:
        The URL that leads through it.
    """
    server = sa.make_url(url.secret())
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    with kept_port() as port:
        settings = {"listen_port": port, "pool_mode": mode, "default_pool_size": pool_size}
        process = _start(server, settings, folder)
        try:
            _wait_for(port, process)
            yield StorageUrl.parse(server.set(host="127.0.0.1", port=port).render_as_string(hide_password=False))
        finally:
            process.terminate()
            process.wait(60)
            shutil.rmtree(folder)


def _start(server: sa.URL, settings: Mapping[str, object], folder: Path) -> "subprocess.Popen[bytes]":
    assert PROGRAM is not None, "PgBouncer is not installed"
    settings = {
        "listen_addr": "127.0.0.1",
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": folder / "users",
        "max_client_conn": 1000,
        "logfile": folder / "log",
        **settings,
    }
    lines = ["[databases]", f"* = host={server.host} port={server.port}", "[pgbouncer]"]
    lines += [f"{name} = {value}" for name, value in settings.items()]
    (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
    (folder / "users").touch(mode=0o600)
    (folder / "users").write_text(f'"{server.username}" "{server.password}"\n')
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to be root
    if user is not None:
        owner = pwd.getpwnam(user).pw_uid
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner, -1)
    return subprocess.Popen([PROGRAM, "--quiet", str(folder / "pgbouncer.ini")], user=user)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
