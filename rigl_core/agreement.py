"""Whether a file and a network, or the processes of one training, hold the same tensors."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from rigl_core.errors import BadInput
from rigl_core.optimizer_input import bare_name

_STEP = 0x1E3779B97F4A7C15
_MIX = ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB), (31, 1))
"""Shifts and factors by which every bit of a word changes the others, as in SplitMix64 (Steele et al. 2014)."""


def checksums(tensors: Iterable[Tensor]) -> list[int]:
    """A whole number of each tensor's values and their places; the same on every device and for every layout."""
    return [int(_checksum(tensor.detach())) for tensor in tensors]


def _checksum(tensor: Tensor) -> Tensor:
    if tensor.is_floating_point():
        tensor = tensor + 0.0  # −0 and 0 are equal
    content = tensor.contiguous().flatten().view(torch.uint8)
    words = torch.nn.functional.pad(content, (0, -len(content) % 8)).view(torch.int64)
    mixed = words + torch.arange(1, len(words) + 1, device=words.device) * _STEP
    for shift, factor in _MIX:
        mixed = (mixed ^ ((mixed >> shift) & (1 << 64 - shift) - 1)) * factor
    return mixed.sum()  # whole numbers, which have the same sum in any order


def first_difference(tensors: Sequence[Tensor], saved: Sequence[int]) -> int | None:
    """The place of the first tensor that is not as it was when these checksums were saved; None if all are."""
    pairs = zip(checksums(tensors), saved, strict=True)
    return next((place for place, (now, before) in enumerate(pairs) if now != before), None)


def check_same_on_all_ranks(masks: Mapping[str, Tensor], generator: torch.Generator | None) -> None:
    """Refuse masks that differ between the processes of `torch.distributed`, where there are several.

    Args:
        masks: by layer, of this process; every process must call this at the same steps.
        generator: which is to be in the same state everywhere; None where nothing is drawn.

    Raises:
        BadInput: on every process, if any of them differs from the first.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return
    sums = zip(masks, checksums(masks.values()), strict=True)
    own = {f"the mask of weight {bare_name(name)}": value for name, value in sums}
    if generator is not None:
        own["the generator"] = checksums([generator.get_state()])[0]
    everywhere: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(everywhere, own)
    for rank, theirs in enumerate(everywhere):
        for what in (*everywhere[0], *theirs):
            if everywhere[0].get(what) != theirs.get(what):
                raise BadInput(
                    f"{what} is another on rank {rank} than on rank 0. Seed the masks and the generator from the run, "
                    "not from the rank, and average gradients before step(), as DistributedDataParallel does; for "
                    "networks that are trained apart, pass same_on_all_ranks=False."
                )
