"""`rigl-study storage ...`, and how every command opens the database."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.app import PROGRAM, command, new_app, print_json, say
from studies.commands.options import Json, Storage
from studies.errors import BadInput, NotFound

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from studies.database.storage_url import StorageUrl

SHORT_PATIENCE_SECONDS = 10.0

storage_app = new_app(
    about="The database that holds every study, above all the embedded Postgres.", example="rigl-study storage status"
)


def resolve(option: str | None, *, must_exist: bool = False) -> "StorageUrl":
    """The database that a command uses; the embedded one is started if need be.

    Args:
        option: what the user gave as `--storage`.
        must_exist: refuse a SQLite file that is not there, instead of making an empty one.

    Raises:
        BadInput: a URL that is malformed, of a storage that no other command could see, or a file in no folder or
            that is a folder or something else.
        NotFound: there is no such file.
    """
    from studies.database.resolving import is_sqlite, resolve_storage

    url = resolve_storage(option)
    if url.kind == "memory":
        raise BadInput(f"{url} is lost when this command ends; use sqlite:///FILE or postgresql://...")
    if url.path is not None and url.path.is_dir():
        raise BadInput(f"{url}: that is a folder; name a file in it.")
    if url.path is not None and url.path.is_file() and not is_sqlite(url.path):
        raise BadInput(f"{url}: that is no database of SQLite; name another file.")
    if url.path is not None and not url.path.absolute().parent.is_dir():
        raise BadInput(f"{url}: there is no folder {url.path.absolute().parent}; make it first, or name another.")
    if must_exist and url.path is not None and not url.path.exists():
        raise NotFound(f"{url}: there is no such file; `{PROGRAM} create SPEC --storage URL` makes it.")
    return url


def short_patience() -> float:
    """Seconds that a command somebody looks on waits for the database: 10, unless `RIGL_STUDY_PATIENCE` is set."""
    from studies.database.retrying import patience_from_environment

    return patience_from_environment(SHORT_PATIENCE_SECONDS)


@contextlib.contextmanager
def opened(option: str | None, *, must_exist: bool = True, patient: bool = False) -> Iterator["BaseStorage"]:
    """The storage of a command, closed when the command is done.

    Args:
        option: what the user gave as `--storage`.
        must_exist: see `resolve`.
        patient: wait for a database that is away as long as workers do, because the command does. Others give up
            soon: somebody looks on.
    """
    from studies.storage import close_storage, open_storage

    patience = None if patient else short_patience()
    storage = open_storage(resolve(option, must_exist=must_exist), patience=patience)
    try:
        yield storage
    finally:
        close_storage(storage)


@command(storage_app, "start", example="rigl-study storage start")
def start() -> None:
    """Start the embedded Postgres and keep it running until `storage stop`.

    Not needed for `create`, `run` and the like: they start it themselves, and it stops a minute after its last user.
    """
    from studies.database.embedded import EmbeddedPostgres

    print(EmbeddedPostgres().start())


@command(storage_app, "stop", example="rigl-study storage stop")
def stop() -> None:
    """Stop the embedded Postgres. What it holds stays on disk."""
    from studies.database.embedded import EmbeddedPostgres

    say("stopped" if EmbeddedPostgres().stop() else "the embedded database was not running")


@command(storage_app, "url", example="rigl-study storage url")
def url(
    storage: Storage = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the password too, for psql and workers elsewhere.")
    ] = False,
) -> None:
    """Print the URL of the database in use, its password hidden."""
    found = resolve(storage)
    if not reveal:
        print(found)
        return
    print(found.revealed())
    if found.embedded_home is not None:
        say(f"the embedded database stops a minute after its last user; `{PROGRAM} storage start` keeps it running")


@command(storage_app, "wait", example="rigl-study storage wait --timeout 30")
def wait(
    storage: Storage = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0, metavar="SECONDS", help="Give up after so long.")] = 60,
) -> None:
    """Wait until the database answers; exit code 1 if it does not in time."""
    from studies.storage import wait_until_reachable

    found = resolve(storage, must_exist=True)
    wait_until_reachable(found, timeout)
    say(f"{found} answers")


@command(storage_app, "status", example="rigl-study storage status --json")
def status(as_json: Json = False) -> None:
    """Show whether the embedded Postgres runs, and where its data are. Starts nothing."""
    from studies.database.embedded import EmbeddedPostgres

    found = EmbeddedPostgres().status()
    shown = {
        "running": found.running,
        "url": None if found.url is None else str(found.url),
        "data": str(found.data),
        "bytes": found.size,
        "stays_without_users": found.pinned,
        "keeper_pid": found.keeper_pid,
    }
    if as_json:
        print_json(shown)
        return
    for key, value in shown.items():
        text = ("yes" if value else "no") if isinstance(value, bool) else "-" if value is None else value
        print(f"{key.replace('_', ' '):<20} {text}")
