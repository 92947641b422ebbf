"""The final masks of a run in a file, a bit a weight, for other runs to begin from."""

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rigl_core.checkpoint import write_atomically
from rigl_core.config import TrainConfig
from rigl_core.errors import BadInput, DataUnavailable
from rigl_core.masks import MaskState
from rigl_core.source import Source

FORMAT = 1


def save_masks(path: Path, masks: Mapping[int, MaskState]) -> None:
    """Write the masks of every seed, atomically; the same masks give the same bytes.

    Args:
        path: the file; its folder is made.
        masks: of each seed's replica.

    Raises:
        CheckpointError: the folder cannot be written or the disk is full.
    """
    seeds = {
        seed: {name: {"shape": list(mask.shape), "bits": _packed(mask)} for name, mask in state.masks.items()}
        for seed, state in masks.items()
    }
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "seeds": seeds}, buffer)
    write_atomically(path, buffer.getbuffer(), "masks")


def load_masks(config: TrainConfig, folder: Path | None) -> dict[int, MaskState]:
    """The masks that `config` begins with, of each of its seeds, on the CPU; none if it draws its own.

    The file is only parsed if its SHA-256 is the one the run was planned with, and then without executing anything.

    Args:
        config: what is to be trained.
        folder: the checkpoint folder of the workers that trained the source; None if there is none.

    Raises:
        BadInput: there is no folder, or the file is no masks file or lacks a seed.
        DataUnavailable: the file is not here, or is another one than the run was planned with.
    """
    if config.masks is None:
        return {}
    if folder is None:
        raise BadInput(f'masks "{config.masks}" are kept by the workers of a campaign; `rigl-study create` plans one.')
    path, content = _planned(config, Source.parse(config.masks).masks_files(folder))
    try:
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if saved["format"] != FORMAT:
            raise ValueError(f"format {saved['format']}, where {FORMAT} is read")
        return {seed: _state(saved["seeds"][seed]) for seed in config.seeds}
    except Exception as error:  # a damaged zip, a refused pickle, a missing seed: torch raises many kinds
        raise BadInput(f"{path} holds no masks for seeds {list(config.seeds)} ({type(error).__name__}).") from error


def _planned(config: TrainConfig, paths: Sequence[Path]) -> tuple[Path, bytes]:
    """The file among these that the run was planned with, and what it holds."""
    other: Path | None = None
    why: OSError | None = None
    for path in paths:
        try:
            with path.open("rb") as file:
                # Read only once it is the right one: another takes no memory, however large it is.
                if hashlib.file_digest(file, "sha256").hexdigest() == config.masks_sha256:
                    file.seek(0)
                    return path, file.read()
        except OSError as error:
            why = why or error
            continue
        other = path
    if other is None:
        raise DataUnavailable(
            f"the masks {config.masks} are not at {paths[0].parent / '*' / paths[0].name} "
            f"({(why and why.strerror) or why}); share the checkpoint folder with the workers that trained them, or "
            "copy that file, and name the folder with --checkpoints."
        ) from why
    raise DataUnavailable(
        f"{other} does not hold the masks this run was planned with (its SHA-256 should begin with "
        f"{str(config.masks_sha256)[:12]}); bring that file back, or plan a new run."
    )


def _packed(mask: Tensor) -> Tensor:
    """uint8 (ceil(size / 8),), the first weight in the highest bit."""
    return torch.from_numpy(np.packbits(mask.flatten().cpu().numpy()))


def _state(layers: Mapping[str, Mapping[str, Any]]) -> MaskState:
    masks = {}
    for name, layer in layers.items():
        bits = np.unpackbits(layer["bits"].numpy(), count=math.prod(layer["shape"]))
        masks[name] = torch.from_numpy(bits.astype(bool)).view(layer["shape"])
    return MaskState(masks, {name: int(mask.sum()) for name, mask in masks.items()})
