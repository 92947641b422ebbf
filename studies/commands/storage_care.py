"""`rigl-study storage init|upgrade|backup|restore`: what a database needs from its operator."""

from pathlib import Path
from typing import Annotated

import typer

from studies.commands.app import PROGRAM, say
from studies.commands.options import Storage, a_file
from studies.commands.storage import opened, resolve, short_patience


def init(storage: Storage = None) -> None:
    """Create the tables of an empty database; nothing where they are there already.

    Not needed for `create` and `run`, which do it too: it is a step of its own for deployments. It waits for a database
    that is still starting as long as workers do.
    """
    from studies.database.retrying_storage import RetryingStorage

    with opened(storage, must_exist=False, patient=True) as database:
        assert isinstance(database, RetryingStorage), "a storage in memory is refused"
        say(f"the tables in {database.url} are ready")


def upgrade(storage: Storage = None) -> None:
    """Bring the tables to the version that the Optuna installed here uses, as after an update of rigl-study.

    Stop all workers and make a backup before. Refused while anybody else is connected (SQLite cannot know).
    """
    from studies.database.care import upgrade as upgrade_tables
    from studies.database.retrying import Retrier

    url = resolve(storage, must_exist=True)
    before, now = upgrade_tables(url, Retrier(url, patience=short_patience()))
    if before == now:
        say(f"the tables in {url} have version {now} already")
    else:
        say(f"upgraded the tables in {url} from version {before} to {now}")


def backup(
    file: Annotated[
        Path, typer.Argument(parser=a_file, metavar="FILE", help="Where to; an older backup there is replaced.")
    ],
    storage: Storage = None,
) -> None:
    """Write the whole database to FILE, which only you can read; workers may go on meanwhile.

    Checkpoints are no part of it. Postgres needs its own pg_dump, of the server's version or newer; the embedded
    database brings one.
    """
    from studies.database.backup import backup as write
    from studies.database.retrying import Retrier

    url = resolve(storage, must_exist=True)
    write(url, file, Retrier(url, patience=short_patience()))
    say(f"{url} is in {file}, {file.stat().st_size:,} bytes")


def restore(
    file: Annotated[Path, typer.Argument(parser=a_file, metavar="FILE", help="What `storage backup` wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Also if the database holds something, which is then lost.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Fill an empty database with what FILE holds, completely or not at all.

    Refused while anybody else is connected (SQLite cannot know). Restore only files of your own: what is in them is
    done with all the rights of the user that the URL names.
    """
    from studies.database.backup import restore as read
    from studies.database.retrying import Retrier

    url = resolve(storage)
    found = read(url, file, Retrier(url, patience=short_patience()), replace=replace)
    n_studies = f"{found.n_studies} {'study' if found.n_studies == 1 else 'studies'}"
    say(f"{url} holds {n_studies} again; `{PROGRAM} list` shows them")
