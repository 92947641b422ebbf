"""Zero what is outside a network's masks, which are bools: on the CPU, in one call of C for all layers.

PyTorch selects by bools at a third of the speed, and masks of numbers take as much memory as the weights.
"""

import ctypes
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from rigl_core.native.build import topology
from rigl_core.native.drop_and_grow import WORTH_IT


def suits(weights: Iterable[Tensor]) -> bool:
    """Whether such weights can be zeroed here, and their masks are worth it; may compile, once in a process."""
    weights = list(weights)
    return (
        all(weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in weights)
        and sum(weight.numel() for weight in weights) >= WORTH_IT
        and not isinstance(topology(), str)
    )


def zero_outside(tensors: Sequence[Tensor], masks: Sequence[Tensor], *, only_not_finite: bool = False) -> None:
    """Set each tensor to zero where its mask is False, in place, on the CPU. What was there does not matter.

    Args:
        tensors: float32; PyTorch works on those of other types and those laid out otherwise than their masks.
        masks: bools of the tensors' shapes, True = active, without gaps in memory.
        only_not_finite: whether finite numbers stay as they are.
    """
    rows: list[int] = []  # of three numbers, as `masked` in `topology.c`
    for tensor, mask in zip(tensors, masks, strict=True):
        if tensor.dtype == torch.float32 and tensor.stride() == mask.stride():
            rows += (tensor.data_ptr(), mask.data_ptr(), mask.numel())
        else:
            zero_outside_by_pytorch(tensor, mask, only_not_finite=only_not_finite)
    library = topology()
    assert not isinstance(library, str), library
    table = (ctypes.c_int64 * len(rows))(*rows)
    library.rigl_zero_outside(table, len(rows) // 3, only_not_finite, torch.get_num_threads())


def zero_outside_by_pytorch(tensor: Tensor, mask: Tensor, *, only_not_finite: bool = False) -> None:
    """The same of one tensor, on any device and of any type."""
    tensor.masked_fill_(~(mask | tensor.isfinite()) if only_not_finite else ~mask, 0.0)
