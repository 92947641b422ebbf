"""A topology step of all layers of a network on the CPU in one call of C; the masks are those of `update_mask`."""

import ctypes
from collections.abc import Mapping

import torch
from torch import Tensor

from rigl_core.errors import BadInput
from rigl_core.masks import check_counts
from rigl_core.native.build import topology
from rigl_core.scores import Layer
from rigl_core.selection import SMALL, sample_stride, surely_reached

WORTH_IT = 500_000
"""Weights in all below which it takes hundreds of topology steps to make good the 0.3 s of compiling."""

NO_MEMORY, TOO_FEW = 1, 2


class _Layer(ctypes.Structure):
    """As in `topology.c`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("drop", "grow", "before", "after")),
        *((name, ctypes.c_int64) for name in ("size", "n_keep", "n_grow", "stride", "sampled_keep", "sampled_grow")),
    )


def suits(layers: Mapping[str, Layer]) -> bool:
    """Whether such layers can be worked on here, and are worth it; may compile, once in a process."""
    tensors = [tensor for layer in layers.values() for tensor in (layer.weight, layer.gradient, layer.momentum)]
    return (
        sum(layer.weight.numel() for layer in layers.values()) >= WORTH_IT
        and max(layer.weight.numel() for layer in layers.values()) < 2**31
        and all(tensor is None or tensor.dtype == torch.float32 for tensor in tensors)
        and not isinstance(topology(), str)
    )


def drop_and_grow(
    *,
    masks: Mapping[str, Tensor],
    drop_scores: Mapping[str, Tensor],
    grow_scores: Mapping[str, Tensor],
    n_keep: Mapping[str, int],
    n_grow: Mapping[str, int],
) -> dict[str, Tensor]:
    """Of every layer keep the best active weights, and grow the best of everything not kept, ties by flat index.

    Args:
        masks: by layer name, bool tensors on the CPU, True = active.
        drop_scores: float32 of the masks' shapes, on the CPU. They count by magnitude; NaN is the lowest.
        grow_scores: likewise.
        n_keep: how many active weights each layer keeps.
        n_grow: how many of those not kept it grows.

    Returns:
        The new masks, with exactly `n_keep + n_grow` active weights in each layer.

    Raises:
        BadInput: a negative count, one that exceeds the layer, or a layer with fewer active weights than it is to keep.
        MemoryError: there is none for 8 bytes a weight of the largest layer, for each thread.
    """
    for name, mask in masks.items():
        check_counts(mask.numel(), n_keep[name], n_grow[name])
    largest_first = sorted(masks, key=lambda name: -masks[name].numel())
    new = {name: torch.empty(mask.shape, dtype=torch.bool) for name, mask in masks.items()}
    # Kept until the call has returned, for the C has only their addresses: a copy where a tensor is not contiguous.
    given = {
        name: tuple(scores[name].contiguous() for scores in (drop_scores, grow_scores, masks)) for name in largest_first
    }
    layers = (_Layer * len(masks))(
        *(_layer((*given[name], new[name]), masks[name].numel(), n_keep[name], n_grow[name]) for name in largest_first)
    )
    library = topology()
    assert not isinstance(library, str), library
    most = max((mask.numel() for mask in masks.values()), default=0)
    wrong = library.rigl_drop_and_grow(layers, len(layers), most, torch.get_num_threads())
    if wrong & NO_MEMORY:
        raise MemoryError(f"no memory to list the weights of a layer of {most}.")
    if wrong & TOO_FEW:
        raise BadInput("a layer has fewer active weights than it is to keep: its mask and its count disagree.")
    return new


def _layer(tensors: tuple[Tensor, ...], size: int, n_keep: int, n_grow: int) -> _Layer:
    addresses = (tensor.data_ptr() for tensor in tensors)
    if size < SMALL:
        return _Layer(*addresses, size, n_keep, n_grow, 1, 0, 0)
    stride = sample_stride(size)
    return _Layer(
        *addresses, size, n_keep, n_grow, stride, surely_reached(n_keep / stride), surely_reached(n_grow / stride)
    )
