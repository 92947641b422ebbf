"""Paths that a user writes, in options, settings, URLs and environment variables: all are read here.

A shell expands `~` only at the beginning of a word: not behind "=", as in `--checkpoints=~/runs`, nor in .env files and
units of systemd. Importing this module does not import torch.
"""

import os
from pathlib import Path

from rigl_core.errors import BadInput


def user_path(text: str | Path) -> Path:
    """The path that a user means, `~` and `~NAME` replaced by the home folder.

    Raises:
        BadInput: it is empty, or there is no such home folder.
    """
    if not str(text).strip():
        raise BadInput("the path is empty; name a file or a folder.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        home = Path(text).parts[0]
        raise BadInput(f'"{text}" begins with {home}, and no such home folder is known; write it in full.') from None


def user_folder(text: str | Path) -> Path:
    """Likewise of a folder, which need not be there yet.

    Raises:
        BadInput: as `user_path`; or it is a file, or lies below one.
    """
    path = user_path(text)
    there = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
    if there == path and not os.path.isdir(path):
        raise BadInput(f'"{text}" is not a folder; name a folder, or a place where there can be one.')
    _check_below(text, there)
    return path


def user_file(text: str | Path) -> Path:
    """Likewise of a file, which need not be there yet.

    Raises:
        BadInput: as `user_path`; or it is a folder, or lies below a file.
    """
    path = user_path(text)
    if os.path.isdir(path):
        raise BadInput(f'"{text}" is a folder; name a file.')
    _check_below(text, next(place for place in path.absolute().parents if os.path.lexists(place)))
    return path


def _check_below(text: str | Path, there: Path) -> None:
    if not os.path.isdir(there):
        raise BadInput(f'"{text}" lies below {there}, which is not a folder; name another place.')


def variable(name: str) -> str | None:
    """What an environment variable holds; None where it is not set.

    Raises:
        BadInput: it is set and empty, as where a script filled it from another one that is not set.
    """
    text = os.environ.get(name)
    if text is not None and not text.strip():
        raise BadInput(f"{name} is set and empty; give it a value, or unset it.")
    return text


def folder_variable(name: str) -> Path | None:
    """The folder that an environment variable names; None where it is not set.

    Raises:
        BadInput: as `variable` and `user_folder`.
    """
    text = variable(name)
    try:
        return None if text is None else user_folder(text)
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from None
