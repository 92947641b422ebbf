"""Random changes to training images, for a whole batch at once on its device."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from rigl_core.errors import BadInput

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""(batch of images, generator on their device) -> batch of the same shape and type."""


def crop_flip(images: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """Reflect-pad, cut out a window of the old size at a random place, flip left-right with probability ½ (each image).

    The usual augmentation for CIFAR (Zagoruyko & Komodakis 2016, §3; He et al. 2016).

    Args:
        images: (N, C, H, W), any type.
        generator: source of the random numbers, on the device of the images.
        padding: pixels on every side.

    Returns:
        A new tensor of the same shape and type.

    Raises:
        BadInput: `padding` is negative or not below H and W, which leaves nothing to reflect.
    """
    n, channels, height, width = images.shape
    if not 0 <= padding < min(height, width):
        raise BadInput(
            f"padding is {padding}; {height}×{width} images reflect 0 to {min(height, width) - 1} pixels on a side."
        )
    device = images.device
    # The padded images are never made: a window's rows and columns are looked up in the image itself.
    offsets = torch.randint(-padding, padding + 1, (2, n, 1), generator=generator, device=device)
    flips = torch.randint(2, (n, 1), generator=generator, device=device, dtype=torch.bool)
    rows = _reflect(torch.arange(height, device=device) + offsets[0], height)
    columns = _reflect(torch.arange(width, device=device) + offsets[1], width)
    columns = torch.where(flips, columns.flip(1), columns)
    image = torch.arange(n, device=device)
    channel = torch.arange(channels, device=device)
    return images[
        image[:, None, None, None], channel[None, :, None, None], rows[:, None, :, None], columns[:, None, None, :]
    ]


def _reflect(index: Tensor, size: int) -> Tensor:
    """Fold indices in (−size, 2·size − 1) into [0, size) by reflection at the first and the last element."""
    last = size - 1
    return last - (last - index.abs()).abs()


def unchanged(images: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG001 - as every augmentation
    """The images as they are; draws no random numbers."""
    return images


AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType({"none": unchanged, "crop_flip": crop_flip})
