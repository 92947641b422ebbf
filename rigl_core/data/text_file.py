"""Texts of the user's own: where they are, and that they are the ones meant. Importing this does not import torch.

A path alone does not say what is in the file: it may be edited between two runs, or be another file on the next
worker's machine. So a run names the text by its path *and* by the SHA-256 of its bytes.
"""

import hashlib
from pathlib import Path

from rigl_core.data.find import search_roots
from rigl_core.errors import BadInput, DataUnavailable
from rigl_core.paths import user_path


def text_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes in hexadecimal, as `sha256sum` prints it.

    Raises:
        DataUnavailable: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataUnavailable(f"cannot read the text {path}: {error.strerror or error}.") from error


def text_candidates(text_file: str, data_dir: Path | None = None) -> list[Path]:
    """The files that `text_file` may mean and that are there, best first.

    A relative path is looked for below `data_dir`, RIGL_STUDY_DATA, the download cache and the current folder.

    Raises:
        BadInput: it begins with a home folder that is not known here.
    """
    path = user_path(text_file)
    folders = [*search_roots(data_dir).values(), Path()]
    places = [path] if path.is_absolute() else [folder / path for folder in folders]
    return [place for place in places if place.is_file()]


def find_text(text_file: str, text_sha256: str, data_dir: Path | None = None) -> Path:
    """The first of the files `text_file` may mean whose content is the one meant.

    Args:
        text_file: a path, see `text_candidates`.
        text_sha256: of its bytes, in hexadecimal.
        data_dir: where to look first.

    Raises:
        DataUnavailable: there is none; the message says what was found instead.
    """
    try:
        found = text_candidates(text_file, data_dir)
    except BadInput as error:  # the home folder of a user of another machine
        raise DataUnavailable(f"the text cannot be looked for on this machine: {error}") from None
    digests = {path: text_digest(path) for path in found}
    for path, digest in digests.items():
        if digest == text_sha256.lower():
            return path
    if not found:
        folders = ", ".join(map(str, search_roots(data_dir).values()))
        raise DataUnavailable(
            f"the text {text_file} is not on this machine; a relative path is looked for in {folders} and the current "
            "folder. Copy it there, or name its folder with --data-dir."
        )
    others = ", ".join(f"{path} ({digest[:12]}…)" for path, digest in digests.items())
    raise DataUnavailable(
        f"the text {text_file} is not the one of this run, whose SHA-256 begins with {text_sha256[:12]}; "
        f"found {others}. Bring back the file the run was planned with, or plan a new run with this one."
    )
