"""Random changes to training images, for a whole batch at once on its device."""

import math
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


def resized_crop_flip(
    images: Tensor,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """A random box of each image, stretched to the whole, then a random mirroring (Szegedy et al. 2015, §6).

    As torchvision's RandomResizedCrop, in one pass over the batch and without its ten tries for a box that fits: a box
    whose area is uniform in `scale` of the image and whose logarithmic aspect ratio is uniform in `ratio`, cut to the
    image where it is too long, in whole pixels; bilinear, clamped at the edge of the box.

    Args:
        images: float, (N, C, H, W).
        generator: on the device of the images.
        scale: fractions of the area, in (0, 1].
        ratio: width over height.

    Returns:
        The same shape.
    """
    n, _, height, width = images.shape
    area, aspect, down, right, flip = torch.rand((5, n), generator=generator, device=images.device)
    area = (scale[0] + (scale[1] - scale[0]) * area) * height * width
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * aspect)
    box_h = (area / aspect).sqrt().round().clamp(1, height)
    box_w = (area * aspect).sqrt().round().clamp(1, width)
    top = (down * (height - box_h + 1)).floor()
    left = (right * (width - box_w + 1)).floor()
    images = _stretch(images, top, box_h, dim=2)
    images = _stretch(images, left, box_w, dim=3)
    return torch.where((flip < 0.5).view(-1, 1, 1, 1), images.flip(3), images)


def _stretch(images: Tensor, start: Tensor, length: Tensor, dim: int) -> Tensor:
    """Bilinear interpolation of `start` to `start + length` (float (N,), whole pixels) to the full size along `dim`."""
    size = images.shape[dim]
    centres = (torch.arange(size, device=images.device) + 0.5) * (length / size).unsqueeze(1) - 0.5
    centres = centres.clamp(min=0)
    before = centres.floor()
    after = torch.minimum(before + 1, length.unsqueeze(1) - 1)  # before is at most that: centres end at length - 0.5
    shape = [len(images), 1, 1, 1]
    shape[dim] = size

    def pick(index: Tensor) -> Tensor:
        return images.gather(dim, (index + start.unsqueeze(1)).long().view(shape).expand_as(images))

    return torch.lerp(pick(before), pick(after), (centres - before).view(shape))


def _reflect(index: Tensor, size: int) -> Tensor:
    """Fold indices in (−size, 2·size − 1) into [0, size) by reflection at the first and the last element."""
    last = size - 1
    return last - (last - index.abs()).abs()


def unchanged(images: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG001 - as every augmentation
    """The images as they are; draws no random numbers."""
    return images


AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType(
    {"none": unchanged, "crop_flip": crop_flip, "resized_crop_flip": resized_crop_flip}
)
