"""The password of the database, from a file.

Where secrets are files (containers, Kubernetes, systemd) it is in no URL, command line or environment, which others
can read.
"""

import os
from pathlib import Path

from studies.errors import StorageUrlError

PASSWORD_FILE_VARIABLE = "RIGL_STUDY_STORAGE_PASSWORD_FILE"


def password_from_environment() -> str | None:
    """The password in the file that RIGL_STUDY_STORAGE_PASSWORD_FILE names, or None where that is not set.

    Raises:
        StorageUrlError: see `read_password`.
    """
    named = os.environ.get(PASSWORD_FILE_VARIABLE)
    return read_password(Path(named)) if named else None


def read_password(path: Path) -> str:
    """The content of a password file, less one line break at its end.

    Raises:
        StorageUrlError: it cannot be read, or does not hold one line of text. The message shows nothing of it.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise _bad(path, "is not UTF-8 text") from None  # whose own message quotes it
    password = text.removesuffix("\n").removesuffix("\r")
    if not password:
        raise _bad(path, "is empty")
    if not password.isprintable():
        raise _bad(path, "has a line break or a control character inside")
    return password


def _bad(path: Path, what: str) -> StorageUrlError:
    return StorageUrlError(
        f"the password file {path} ({PASSWORD_FILE_VARIABLE}) {what}; it must hold the password and nothing else, on "
        "one line."
    )
