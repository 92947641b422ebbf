"""`rigl-study storage init`: what a database needs from its operator."""

from studies.commands.app import say
from studies.commands.options import Storage
from studies.commands.storage import opened


def init(storage: Storage = None) -> None:
    """Create the tables of an empty database; nothing where they are there already.

    Not needed for `create` and `run`, which do it too: it is a step of its own for deployments. It waits for a database
    that is still starting as long as workers do.
    """
    from studies.database.retrying_storage import RetryingStorage

    with opened(storage, must_exist=False, patient=True) as database:
        assert isinstance(database, RetryingStorage), "a storage in memory is refused"
        say(f"the tables in {database.url} are ready")
