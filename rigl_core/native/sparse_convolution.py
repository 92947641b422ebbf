"""Convolutions that multiply by the active weights only: at S = 0.9 a network's convolutions take a third of the time.

Same sums as the dense convolution's, in another order; the same bits again and again, for any number of threads.
"""

import ctypes
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rigl_core.native.build import convolution

DENSEST = 0.5
"""The fraction of active weights above which the dense convolution is the quicker one (see docs/performance.md)."""

ROWS = {8: 8, 16: 4, 32: 2}
"""The widths of images that `convolution.c` knows, and of how many rows the height must be a multiple."""

LANES = 8


class Geometry(ctypes.Structure):
    """As in `convolution.c`."""

    _fields_ = tuple((name, ctypes.c_int32) for name in ("images", "channels", "filters", "height", "width", "margin"))


class Pattern:
    """Where the active weights of a layer are, as `convolution.c` reads it.

    Args:
        mask: bool (filters, channels, k, k) on the CPU, True = active; kept, and not to be changed.

    Attributes:
        dense_gradient: whether the gradient of all weights is wanted, as a topology step does, or of the active ones.
    """

    def __init__(self, mask: Tensor) -> None:
        self.dense_gradient = False
        self._filters, self._channels, self._kernel, _ = mask.shape
        self._mask = mask
        self._lists: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def suits(self, images: Tensor, padding: int) -> bool:
        """Whether `convolution.c` takes such images (n, channels, height, width)."""
        height, width = images.shape[2:]
        fits = width in ROWS and height % ROWS[width] == 0 and 2 * padding == self._kernel - 1
        return fits and images.device.type == "cpu" and images.dtype == torch.float32

    def forward(self, images: Tensor, weight: Tensor) -> Tensor:
        """The convolution of `images` (n, channels, height, width) with `weight`: (n, filters, height, width)."""
        begin, offset, _, _ = self._for(images)
        return self._convolve(images, begin, offset, weight.take(self._places), self._channels, self._filters)

    def input_gradient(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """The gradient of `forward`'s images, given that of its output."""
        _, _, begin, offset = self._for(gradient)
        return self._convolve(gradient, begin, offset, weight.take(self._turned_places), self._filters, self._channels)

    def weight_gradient(self, images: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
        """The gradient of `forward`'s weight; exactly zero where it is not active, unless `dense_gradient`."""
        if self.dense_gradient:
            margin = [self._kernel // 2] * 2
            only_weight = (False, True, False)
            *_, whole, _ = torch.ops.aten.convolution_backward(
                gradient, images, weight, None, [1, 1], margin, [1, 1], False, [0, 0], 1, only_weight
            )
            return whole  # type: ignore[no-any-return]
        images, gradient = images.contiguous(), gradient.contiguous()
        begin, offset, _, _ = self._for(images)
        geometry, frames = self._geometry(images, self._channels, self._filters)
        sums = torch.empty(_library().rigl_chunks() * len(self._places) * LANES)
        active = torch.empty(len(self._places))
        _library().rigl_correlate(
            ctypes.byref(geometry), *map(_address, (begin, offset, images, gradient, active, frames, sums)), _threads()
        )
        return torch.zeros_like(weight, memory_format=torch.contiguous_format).put_(self._places, active)

    @property
    def _turned(self) -> Tensor:
        # In the order of channels, for the gradient of the images: a convolution with filters and channels swapped and
        # kernels turned round.
        return self._mask.transpose(0, 1).flip(2, 3)

    # Where the active weights are, in either order: not known before they are asked for, as images may not suit.
    @cached_property
    def _places(self) -> Tensor:
        return self._flat(*self._mask.nonzero().unbind(1))

    @cached_property
    def _turned_places(self) -> Tensor:
        channel, filter_, row, column = self._turned.nonzero().unbind(1)
        last = self._kernel - 1
        return self._flat(filter_, channel, last - row, last - column)

    def _flat(self, filter_: Tensor, channel: Tensor, row: Tensor, column: Tensor) -> Tensor:
        return ((filter_ * self._channels + channel) * self._kernel + row) * self._kernel + column

    def _for(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For both orders of the weights, where the list of each filter begins, and each weight's offset in a frame."""
        height, width = images.shape[2] + self._kernel - 1, images.shape[3] + self._kernel - 1
        if (height, width) not in self._lists:
            lists: list[Tensor] = []
            for mask in (self._mask, self._turned):
                owner, plane, row, column = mask.nonzero().unbind(1)
                counts = torch.bincount(owner, minlength=len(mask))
                begin = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
                lists += [begin.int(), ((plane * height + row) * width + column).int()]
            self._lists[height, width] = (lists[0], lists[1], lists[2], lists[3])
        return self._lists[height, width]

    def _geometry(self, images: Tensor, channels: int, filters: int) -> tuple[Geometry, Tensor]:
        """And room for the framed images."""
        n, _, height, width = images.shape
        margin = self._kernel // 2
        frames = torch.empty(_library().rigl_chunks() * channels * (height + 2 * margin) * (width + 2 * margin))
        return Geometry(n, channels, filters, height, width, margin), frames

    def _convolve(
        self, images: Tensor, begin: Tensor, offset: Tensor, values: Tensor, channels: int, filters: int
    ) -> Tensor:
        images = images.contiguous()
        geometry, frames = self._geometry(images, channels, filters)
        out = images.new_empty(len(images), filters, *images.shape[2:])
        _library().rigl_convolve(
            ctypes.byref(geometry), *map(_address, (begin, offset, values, images, out, frames)), _threads()
        )
        return out


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.pattern = pattern
        return pattern.forward(images, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        of_images = pattern.input_gradient(gradient, weight) if ctx.needs_input_grad[0] else None
        of_weight = pattern.weight_gradient(images, gradient, weight) if ctx.needs_input_grad[1] else None
        return of_images, of_weight, None


class Conv2d(nn.Conv2d):
    """A convolution that may know which of its weights are active, and then multiplies by no others.

    Attributes:
        pattern: of the active weights; None computes densely. So do images and strides for which there is no C. Not
            part of `state_dict`: see `SparseConvolutions`.
    """

    pattern: Pattern | None = None

    def forward(self, input: Tensor) -> Tensor:
        """The convolution of images (N, C, H, W)."""
        if self.pattern is not None and self.pattern.suits(input, int(self.padding[0])):
            result: Tensor = _Convolution.apply(input, self.weight, self.pattern)  # type: ignore[no-untyped-call]
            return result
        return super().forward(input)


def _plain(module: nn.Module) -> bool:
    """Whether `convolution.c` knows such a convolution: odd square kernel that keeps the size, no bias, no groups."""
    return (
        isinstance(module, Conv2d)
        and module.stride == (1, 1)
        and module.dilation == (1, 1)
        and module.groups == 1
        and module.bias is None
        and module.kernel_size[0] == module.kernel_size[1]
        and module.kernel_size[0] % 2 == 1
        and module.padding == (module.kernel_size[0] // 2,) * 2
        and module.padding_mode == "zeros"
    )


class SparseConvolutions:
    """The convolutions of a network that can compute with their active weights only, kept up with its masks.

    Args:
        model: changed in place, by `follow`.

    Attributes:
        kind: "sparse", or "dense" and why: a network without such layers, a machine without a compiler.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = {f"{name}.weight": module for name, module in model.named_modules() if _plain(module)}
        self._followed: dict[str, Tensor] = {}
        self.kind = "sparse" if self._modules else "dense"
        if self._modules and isinstance(library := convolution(), str):
            self._modules, self.kind = {}, f"dense: {library}"

    def follow(self, masks: dict[str, Tensor], n_active: dict[str, int]) -> None:
        """Compute with these masks from now on, layers that are not sparse enough densely."""
        for name, module in self._modules.items():
            mask = masks[name]
            if name in self._followed and torch.equal(self._followed[name], mask):
                continue
            self._followed[name] = mask.clone()
            module.pattern = Pattern(self._followed[name]) if n_active[name] <= DENSEST * mask.numel() else None

    def want_dense_gradients(self, wanted: bool) -> None:
        """Whether the next backward pass gives the gradients of all weights, or of the active ones."""
        for module in self._modules.values():
            if isinstance(module.pattern, Pattern):
                module.pattern.dense_gradient = wanted


def _library() -> ctypes.CDLL:
    library = convolution()
    assert not isinstance(library, str), library
    return library


def _address(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _threads() -> int:
    return torch.get_num_threads()
