"""A whole run in one file: written atomically, read without executing anything."""

import glob
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from rigl_core.config import TrainConfig
from rigl_core.errors import BadCheckpoint, CheckpointError

FORMAT = 1


def save_checkpoint(path: Path, config: TrainConfig, state: dict[str, Any]) -> None:
    """Write `state` for a run of `config`; a crash or a full disk in the middle leaves the previous file as it was.

    Raises:
        CheckpointError: the folder cannot be written or the disk is full.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "config": config.model_dump_json(), "state": state}, buffer)
    write_atomically(path, buffer.getbuffer(), "checkpoint")


def write_atomically(path: Path, content: bytes | memoryview, what: str) -> None:
    """Write a file and its folder; a crash or a full disk in the middle leaves the previous file as it was.

    Args:
        path: the file.
        content: its bytes.
        what: they are, for the message.

    Raises:
        CheckpointError: the folder cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise CheckpointError(f"cannot write the {what} {path}: {error.strerror or error}.") from error


def remove_partial(path: Path) -> None:
    """Remove what writers of `path` left that were killed in the middle; one that still writes keeps the old file."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*"):
        partial.unlink(missing_ok=True)


def _sync_directory(folder: Path) -> None:
    """Make a rename durable; some file systems keep it only in memory until then."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_checkpoint(path: Path, config: TrainConfig, device: str) -> dict[str, Any]:
    """The state saved for a run of exactly this configuration, its tensors on `device`.

    Only tensors and plain Python values are ever read (`weights_only=True`): a malicious file is refused, not run.

    Raises:
        BadCheckpoint: missing, damaged, not a checkpoint, or of another configuration or version.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise BadCheckpoint(f"there is no checkpoint {path}.") from None
    except Exception as error:  # a damaged zip, a refused pickle: torch raises many kinds
        raise BadCheckpoint(f"{path} is damaged or not a checkpoint of rigl-study ({type(error).__name__}).") from error
    if not isinstance(content, dict) or set(content) != {"format", "config", "state"}:
        raise BadCheckpoint(f"{path} is not a checkpoint of rigl-study.")
    if content["format"] != FORMAT:
        raise BadCheckpoint(f"{path} has format {content['format']}; this version of rigl-study reads {FORMAT}.")
    if content["config"] != config.model_dump_json():
        raise BadCheckpoint(
            f"{path} was written by a run of another configuration{_difference(content['config'], config)}; remove it "
            "or name another file."
        )
    state: dict[str, Any] = content["state"]
    if state["device"] != torch.device(device).type:
        raise BadCheckpoint(f"{path} was written on {state['device']} and cannot be continued on {device}.")
    return state


def _difference(stored: Any, config: TrainConfig) -> str:
    """The first setting in which a stored configuration differs, in words."""
    try:
        there, here = dict(json.loads(stored)), config.model_dump(mode="json")
    except (TypeError, ValueError):
        return ""
    for key in (*here, *there):
        if there.get(key) != here.get(key):
            return f": {key} is {_shown(there.get(key))} there and {_shown(here.get(key))} here"
    return ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
