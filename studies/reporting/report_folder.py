"""Putting a report's files on the disk: whole files only, and nothing of anybody else's is overwritten or removed."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from rigl_core.paths import user_path
from studies.errors import BadInput
from studies.reporting.summary import GENERATOR

MOST_LETTERS = 80
"""Of a folder's name, which is as long as that of a campaign may be."""

MARKER = "summary.json"
"""The file by which a folder is known as a report's."""


def default_folder(name: str) -> Path:
    """Where the report of what has this name goes, if the user does not say it: no two names share a folder."""
    cleaned = re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII).strip(".-")[:MOST_LETTERS]
    if cleaned != name or not cleaned:
        cleaned = f"{cleaned or 'study'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return Path("reports") / cleaned


def check_folder(folder: Path) -> None:
    """Refuse a folder that a report cannot be written to, without leaving anything behind.

    Raises:
        BadInput: it, or the nearest folder above it that exists, is no folder or cannot be written.
    """
    folder = user_path(folder).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists() or path.is_symlink())
    if not existing.is_dir():
        raise BadInput(f'cannot write a report to "{folder}": {existing} is not a folder; choose another with --out.')
    try:
        with tempfile.TemporaryDirectory(prefix=".report-", dir=existing):
            pass
    except OSError as error:
        raise BadInput(f'cannot write a report to "{folder}": {error.strerror or error}.') from error


def replace_files(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Make `folder` hold exactly these files of a report, besides whatever else is in it.

    Everything is written into a new folder first. Where `folder` does not exist, that one then gets its name. Else its
    files are moved over the old ones one by one: a crash in between leaves whole files, each old or new.

    Args:
        folder: the report's folder.
        files: contents by names relative to it, `MARKER` among them.

    Returns:
        The folder as an absolute path.

    Raises:
        BadInput: the folder cannot be written, or a file that no report put there is in the way.
    """
    folder = user_path(folder).absolute()
    old = _files_of_report(folder)
    try:
        _refuse_foreign(folder, files, old)
        # Inside an existing folder, which may be a mount point: renaming does not cross file systems.
        parent = folder if folder.is_dir() else folder.parent
        parent.mkdir(parents=True, exist_ok=True)
        private = Path(tempfile.mkdtemp(prefix=".report-", dir=parent))
        staging = private / "report"  # with everybody's permissions: a report is for showing
        try:
            _write(staging, files)
            if folder.is_dir():
                _move_over(staging, folder, files, is_new=old is None)
                _remove_stale(folder, (old or set()) - set(files))
            else:
                os.rename(staging, folder)
        finally:
            shutil.rmtree(private, ignore_errors=True)
    except OSError as error:
        raise BadInput(f'cannot write a report to "{folder}": {error.strerror or error}.') from error
    return folder


def _files_of_report(folder: Path) -> set[str] | None:
    """What the report in this folder consists of; None if there is none."""
    try:
        summary = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(summary, dict) or summary.get("generator") != GENERATOR:
        return None
    return {name for name in summary.get("files", []) if _is_ours(name)}


def _is_ours(name: object) -> bool:
    """Whether a report may have written a file of that name: nobody can make us remove others by editing the list."""
    if not isinstance(name, str):
        return False
    path = PurePosixPath(name)
    is_figure = len(path.parts) == 2 and path.parts[0] == "figures" and path.suffix in (".svg", ".png", ".pdf")
    return name in ("report.html", "report.md", "trials.csv", "trials.parquet", MARKER) or is_figure


def _refuse_foreign(folder: Path, files: Mapping[str, str | bytes], old: set[str] | None) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadInput(f'"{folder}" is a file; name a folder for the report.')
    if old is None:
        foreign = [name for name in files if (folder / name).exists()]
        if foreign:
            listed = ", ".join(foreign)
            raise BadInput(f'"{folder}" holds {listed}, which no report put there; choose another folder.')


def _write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


def _move_over(staging: Path, folder: Path, files: Mapping[str, str | bytes], *, is_new: bool) -> None:
    # The marker goes last, so that who reads it finds the rest in place; but first where there was no report, or a
    # crash would leave files here that the next report would take for somebody else's.
    for name in sorted(files, key=lambda name: (name == MARKER) != is_new):
        (folder / name).parent.mkdir(exist_ok=True)
        os.replace(staging / name, folder / name)


def _remove_stale(folder: Path, names: set[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
