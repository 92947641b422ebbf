"""`pg_dump` and `pg_restore`: which ones, and how they log in without a password that others could see."""

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa
from psycopg2.extensions import make_dsn

from studies.database.embedded_files import package_directory
from studies.database.storage_url import StorageUrl
from studies.errors import BadInput, StorageError

LOCK_SECONDS = 30
DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each version."""
_TLS_ONLY = ("require", "verify-ca", "verify-full")


def run_tool(
    name: str, arguments: Sequence[str | Path], url: StorageUrl, server_version: int, *, connect: bool = True
) -> str:
    """Run a program of Postgres on the database of `url`, or on a backup of it.

    Arguments:
        name: "pg_dump" or "pg_restore".
        arguments: without the database.
        url: the database.
        server_version: major version of its server, which the program's must not be below.
        connect: whether it is to connect to the database.

    Returns:
        What it printed.

    Raises:
        StorageError: the program is missing or too old, or it failed; the message has its first complaint.
        BadInput: the URL has what cannot be handed over.
    """
    program = find_tool(name, server_version, tls=sa.make_url(url.secret()).query.get("sslmode") in _TLS_ONLY)
    with _login(url) as (connection, environment, descriptors):
        done = subprocess.run(
            [program, *arguments, *(["--no-password", f"--dbname={connection}"] if connect else [])],
            env=environment,
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode != 0:
        raise StorageError(f"{name} of Postgres failed on {url}: {_first_complaint(done.stderr)}.")
    return done.stdout


def find_tool(name: str, server_version: int, *, tls: bool = False) -> Path:
    """The program that fits the server best: of its own version, else the next newer one.

    It is looked for in all folders of PATH, where Debian keeps its versions, and in the package of the embedded server,
    which brings the programs of several.

    Arguments:
        name: "pg_dump" or "pg_restore".
        server_version: major version of the server.
        tls: whether it must speak TLS, which the programs of the embedded server do not.

    Raises:
        StorageError: there is none, or only older ones, which cannot read a newer server's tables.
    """
    places = [Path(folder) for folder in os.get_exec_path() if os.path.isabs(folder)]
    places += sorted(DEBIAN.glob("*/bin"))
    if not tls:
        with contextlib.suppress(StorageError):
            places += sorted(package_directory().glob("pginstall*/bin"))
    versions = {place / name: version for place in places if (version := _version(place / name)) is not None}
    fitting = {path: version for path, version in versions.items() if version >= server_version}
    if fitting:
        return min(fitting, key=lambda path: fitting[path])
    there = f"; of version {max(versions.values())} it is too old" if versions else ", which is not there"
    raise StorageError(
        f"the server is Postgres {server_version}, and needs {name} of that version or newer{there}. Install it (on "
        f"Debian: apt-get install postgresql-client-{server_version}) and have it on PATH."
    )


def _version(program: Path) -> int | None:
    """Its major version; None if it is not there or does not run."""
    try:
        done = subprocess.run([program, "--version"], env=_environment(), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(found[1]) if found else None


@contextlib.contextmanager
def _login(url: StorageUrl) -> Iterator[tuple[str, dict[str, str], tuple[int, ...]]]:
    """How to reach the database: what may stand on a command line, the environment, descriptors to hand down.

    The password comes in a file that has no name any more: nothing is left behind by whatever kills us, and neither
    command lines nor environments, which `ps` shows, hold it.
    """
    parts = sa.make_url(url.secret())
    options = {"host": parts.host, "port": parts.port, "user": parts.username, "dbname": parts.database, **parts.query}
    if "sslpassword" in options:
        raise BadInput(f"{url} has a sslpassword, which pg_dump can only take from a command line; use a key without.")
    connection = make_dsn(**{"connect_timeout": 10, **{k: v for k, v in options.items() if v is not None}})
    # Do not wait behind a forgotten transaction for ever; complaints in English; nothing of a user's own PGOPTIONS.
    environment = _environment() | {"LC_ALL": "C", "PGOPTIONS": f"-c lock_timeout={LOCK_SECONDS}s"}
    if parts.password is None:  # PGPASSFILE, ~/.pgpass, a certificate
        yield connection, environment, ()
        return
    if re.search(r"[\r\n]", parts.password):
        raise BadInput(f"the password of {url} has a line break, which no password file can hold; choose another.")
    with tempfile.TemporaryFile() as file:  # mode 0600, unlinked
        file.write(b"*:*:*:*:" + re.sub(r"([\\:])", r"\\\1", parts.password).encode() + b"\n")
        file.seek(0)
        environment["PGPASSFILE"] = f"/dev/fd/{file.fileno()}"
        yield connection, environment, (file.fileno(),)


def _environment() -> dict[str, str]:
    """Ours without the URL, which may hold the password."""
    return {name: value for name, value in os.environ.items() if name != "RIGL_STUDY_STORAGE"}


def _first_complaint(said: str) -> str:
    """The first line that names an error, without the program's name."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line for line in lines if re.search("error|fatal", line, re.IGNORECASE)] or lines
    return re.sub(r"^pg_\w+: (error: )?", "", errors[0]).rstrip(".")
