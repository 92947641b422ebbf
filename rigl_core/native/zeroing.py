"""Zero what is outside a network's masks, which are bools: on the CPU, in one call of C for all layers.

PyTorch multiplies by bools at half the speed of numbers, and masks of numbers take as much memory as the weights.
"""

import ctypes
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from rigl_core.native.build import topology
from rigl_core.native.drop_and_grow import WORTH_IT


class _Masked(ctypes.Structure):
    """As in `topology.c`."""

    _fields_ = (("values", ctypes.c_void_p), ("mask", ctypes.c_void_p), ("size", ctypes.c_int64))


def suits(weights: Iterable[Tensor]) -> bool:
    """Whether such weights can be zeroed here, and their masks are worth it; may compile, once in a process."""
    weights = list(weights)
    return (
        all(weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in weights)
        and sum(weight.numel() for weight in weights) >= WORTH_IT
        and not isinstance(topology(), str)
    )


def zero_outside(tensors: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
    """Multiply each tensor by its mask in place, as PyTorch would; on the CPU.

    Args:
        tensors: float32; of other types, or laid out otherwise than its mask, one is left to PyTorch.
        masks: bools of the tensors' shapes, True = active, without gaps in memory.
    """
    alike = [
        one.dtype == torch.float32 and one.stride() == mask.stride() for one, mask in zip(tensors, masks, strict=True)
    ]
    given = (_Masked * sum(alike))(
        *(
            _Masked(tensor.data_ptr(), mask.data_ptr(), mask.numel())
            for tensor, mask, is_alike in zip(tensors, masks, alike, strict=True)
            if is_alike
        )
    )
    library = topology()
    assert not isinstance(library, str), library
    library.rigl_zero_outside(given, len(given), torch.get_num_threads())
    for tensor, mask, is_alike in zip(tensors, masks, alike, strict=True):
        if not is_alike:
            tensor.mul_(mask)
