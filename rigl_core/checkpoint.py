"""A whole run in one file: written atomically, read without executing anything."""

import contextlib
import errno
import glob
import hashlib
import io
import json
import logging
import os
import re
import secrets
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from rigl_core.config import TrainConfig
from rigl_core.errors import BadCheckpoint, CheckpointElsewhere, CheckpointError

log = logging.getLogger("rigl_study.train")

FORMAT = 2
ADDED: Mapping[str, Any] = MappingProxyType({})
"""Settings that `TrainConfig` got since format 2, each with the value (as JSON has it) that trains as without it.

A file leaves out a setting that has this value. So versions with and without it go on from each other's files while a
fleet is updated, and yet no run goes on with another configuration: a setting that a version does not know is there
only if it changes the training. Where no value trains as before, raise FORMAT.
"""
_HEADER = re.compile(rb"rigl-study checkpoint (\d{1,9}) ([0-9a-f]{64})\n")
_HEADER_SIZE = 128
"""Bytes that a header fits in."""
_ZIP = b"PK\x03\x04"  # how torch's own files begin, and those of format 1 that were nothing else


def save_checkpoint(path: Path, config: TrainConfig, state: dict[str, Any]) -> None:
    """Write `state` for a run of `config`; a crash or a full disk in the middle leaves the previous file as it was.

    Raises:
        CheckpointError: the folder cannot be written or the disk is full.
    """
    buffer = io.BytesIO()
    n_header = buffer.write(_header(b""))
    torch.save({"config": _stored(config), "state": state}, buffer)
    content = buffer.getbuffer()
    content[:n_header] = _header(content[n_header:])
    write_atomically(path, content, "checkpoint")


def _stored(config: TrainConfig) -> str:
    values = config.model_dump(mode="json")
    return config.model_dump_json(exclude={key for key in ADDED if values.get(key) == ADDED[key]})


def _header(body: bytes | memoryview) -> bytes:
    """One line, so that damage is found before anything of the file is read; it keeps nobody from writing another."""
    return f"rigl-study checkpoint {FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode()


def write_atomically(path: Path, content: bytes | memoryview, what: str) -> None:
    """Write a file and its folder; a crash or a full disk in the middle leaves the previous file as it was.

    Args:
        path: the file.
        content: its bytes.
        what: they are, for the message.

    Raises:
        CheckpointError: the folder cannot be written or the disk is full.
    """
    with _writing(path, what):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        # Whoever may read it is for the umask to say: workers of several users can share the folder.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


def check_writable(path: Path) -> None:
    """Refuse a place for a file before hours of work that end in it; makes its folder.

    Raises:
        CheckpointError: the folder cannot be made or written.
    """
    with _writing(path, "checkpoint"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


@contextlib.contextmanager
def _writing(path: Path, what: str) -> Iterator[None]:
    """Within it, whatever the file system refuses is one line."""
    try:
        yield
    except OSError as error:
        reason = f"{path.parent} is a file" if os.path.isfile(path.parent) else error.strerror or error
        raise CheckpointError(f"cannot write the {what} {path}: {reason}.") from error


def remove_partial(path: Path) -> None:
    """Remove what writers of `path` left that were killed in the middle; one that still writes keeps the old file."""
    try:
        for partial in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}"):
            partial.unlink(missing_ok=True)
    except OSError as error:  # of another user, or on a file system that is read-only by now
        log.warning("cannot remove what was left beside %s: %s", path, error.strerror)


def _sync_directory(folder: Path) -> None:
    """Make a rename durable; some file systems keep it only in memory until then, and some know no such call."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a folder shared with a virtual machine, say: there the rename is all there is
            raise
    finally:
        os.close(descriptor)


def load_checkpoint(path: Path, config: TrainConfig) -> Any:
    """The state saved for a run of exactly this configuration, its tensors on the CPU; `checked_state` looks into it.

    Only tensors and plain Python values are ever read (`weights_only=True`): a malicious file is refused, not run.

    Raises:
        CheckpointElsewhere: it is there, and cannot be read here.
        BadCheckpoint: missing, damaged, not a checkpoint, or of another configuration or version.
    """
    body = _body(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch has some for odd files
            saved = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a refused pickle, an odd tensor: torch raises many kinds
        raise _damaged(path, type(error).__name__) from error
    if not isinstance(saved, dict) or saved.keys() != {"config", "state"} or not isinstance(saved["config"], str):
        raise BadCheckpoint(f"{path} is not a checkpoint of rigl-study.")
    difference = _difference(saved["config"], _stored(config))
    if difference is not None:
        raise BadCheckpoint(
            f"{path} was written by a run of another configuration{difference}; remove it or name another file."
        )
    return saved["state"]


def _body(path: Path) -> memoryview:
    """What follows the header, once its SHA-256 is known to be right: a file of another content takes no memory."""
    try:
        with path.open("rb") as file:
            header = _HEADER.match(beginning := file.read(_HEADER_SIZE))
            if header is None:
                if beginning.startswith(_ZIP):
                    raise BadCheckpoint(
                        f"{path} has format 1, if it is one of rigl-study; this version reads {FORMAT}."
                    )
                raise _damaged(path, "it does not begin like one")
            if int(header[1]) != FORMAT:
                raise BadCheckpoint(f"{path} has format {int(header[1])}; this version of rigl-study reads {FORMAT}.")
            file.seek(header.end())
            if hashlib.file_digest(file, "sha256").hexdigest().encode() != header[2]:
                raise _damaged(path, "its SHA-256 is another")
            file.seek(header.end())
            body = memoryview(file.read())
    except FileNotFoundError:
        raise BadCheckpoint(f"there is no checkpoint {path}.") from None
    except OSError as error:
        raise CheckpointElsewhere(f"cannot read the checkpoint {path}: {error.strerror or error}.") from error
    if not _is_stored_as_it_is(body):
        raise _damaged(path, "it is no archive of stored files")
    return body


def _is_stored_as_it_is(body: memoryview) -> bool:
    """Whether it is an archive as torch writes them, not compressed: so it unpacks to no more than its own size."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            files = archive.infolist()
    except (zipfile.BadZipFile, ValueError):
        return False
    return all(file.compress_type == zipfile.ZIP_STORED for file in files) and sum(
        file.file_size for file in files
    ) <= len(body)


def _damaged(path: Path, why: str) -> BadCheckpoint:
    return BadCheckpoint(f"{path} is damaged or not a checkpoint of rigl-study ({why}).")


def _difference(stored: str, wanted: str) -> str | None:
    """The first setting in which a stored configuration is not the wanted one, in words; None if there is none.

    Compared are values: the order of settings and how numbers are written may change from version to version.
    """
    here = json.loads(wanted)
    try:
        there = dict(json.loads(stored))
    except (TypeError, ValueError, RecursionError):
        return ""
    for key in (*here, *there):
        if key not in here:
            return f": {_shown(key)} is {_shown(there[key])} there and not set here"
        if key not in there:
            return f": {key} is not set there and {_shown(here[key])} here"
        if _canonical(there[key]) != _canonical(here[key]):
            return f": {key} is {_shown(there[key])} there and {_shown(here[key])} here"
    return None


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)  # in which true is not 1


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
