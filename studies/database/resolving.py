"""Which database a command means; loads neither Optuna nor SQLAlchemy."""

from pathlib import Path

from rigl_core.paths import variable
from studies.database.embedded import EmbeddedPostgres
from studies.database.password_file import password_from_environment
from studies.database.storage_url import StorageUrl


def is_sqlite(path: Path) -> bool:
    """Whether a file can be a database of SQLite: an empty one can, and one that cannot be read may be."""
    try:
        with path.open("rb") as file:
            beginning = file.read(16)
    except OSError:
        return True
    return beginning in (b"", b"SQLite format 3\0")


def resolve_storage(option: str | None) -> StorageUrl:
    """Which database: `--storage`, else `RIGL_STUDY_STORAGE`, else the embedded Postgres, started if need be.

    A Postgres URL without a password gets that of the file `RIGL_STUDY_STORAGE_PASSWORD_FILE`, where that is set.

    Raises:
        BadInput: an environment variable is set and empty.
        StorageUrlError: the URL is malformed, or the password file is no good.
        StorageError: the embedded server cannot be started.
    """
    text = option if option is not None else variable("RIGL_STUDY_STORAGE")
    if text is None:
        return EmbeddedPostgres().ensure_running()
    url = StorageUrl.parse(text)
    password = password_from_environment() if url.lacks_password else None
    return url if password is None else url.with_password(password)
