"""Whether a file and a network, or the processes of one training, hold the same tensors."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from rigl_core.errors import BadInput
from rigl_core.optimizer_input import bare_name

_MIX = (0x5851F42D4C957F2D, 0x14057B7EF767814F)


def checksums(tensors: Iterable[Tensor]) -> list[int]:
    """A whole number of each tensor's values and their places; the same on every device and for every layout."""
    return [int(_checksum(tensor.detach())) for tensor in tensors]


def _checksum(tensor: Tensor) -> Tensor:
    if tensor.is_floating_point():
        tensor = tensor + 0.0  # −0 and 0 are equal
    content = tensor.contiguous().flatten().view(torch.uint8)
    words = torch.nn.functional.pad(content, (0, -len(content) % 8)).view(torch.int64)
    places = torch.arange(len(words), device=words.device) * _MIX[0]
    # Whole numbers add up to the same sum in any order. A product with an odd number loses no bit of a word.
    return (words * ((places ^ (places >> 29)) * _MIX[1] | 1)).sum()


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
