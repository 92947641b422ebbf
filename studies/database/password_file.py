"""The password of the database, from a file.

Where secrets are files (containers, Kubernetes, systemd) it is in no URL, command line or environment, which others
can read.
"""

from pathlib import Path

from rigl_core.paths import user_path, variable
from studies.errors import StorageUrlError

PASSWORD_FILE_VARIABLE = "RIGL_STUDY_STORAGE_PASSWORD_FILE"


def password_from_environment() -> str | None:
    """The password in the file that RIGL_STUDY_STORAGE_PASSWORD_FILE names, or None where that is not set.

    Raises:
        BadInput: the variable is empty.
        StorageUrlError: see `read_password`.
    """
    named = variable(PASSWORD_FILE_VARIABLE)
    return None if named is None else read_password(user_path(named))


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
