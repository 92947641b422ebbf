"""How large a network becomes, from its settings alone: without torch, and without making it.

All numbers are floats, because settings are checked here that no whole number of weights could answer to.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

WRN_GROUPS = (16, 32, 64)
RESNET50_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))


@dataclass(frozen=True)
class Size:
    """How large a network is.

    Attributes:
        n_parameters: weights, biases and parameters of BatchNorm.
        n_outputs: elements that its convolutions and linear layers give for one item, at least; training keeps them.
    """

    n_parameters: float
    n_outputs: float


SizeOf = Callable[[tuple[int, ...], int, Mapping[str, float], float], Size]
"""(shape of an item, number of classes, options of the model, width multiplier) -> size."""


def lenet_300_100(shape: tuple[int, ...], classes: int, options: Mapping[str, float], scale: float) -> Size:  # noqa: ARG001 - as every model
    """See `rigl_core.models.lenet`; items are images (C, H, W)."""
    layers = (_pixels(shape), _scaled(300, scale), _scaled(100, scale), float(classes))
    n_parameters = sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(layers))
    return Size(n_parameters, sum(layers[1:]))


def wide_resnet(shape: tuple[int, ...], classes: int, options: Mapping[str, float], scale: float) -> Size:
    """See `rigl_core.models.wide_resnet`; items are images (C, H, W)."""
    n_blocks = (options["depth"] - 4) // 6
    n_in, pixels = _scaled(16, scale), _pixels(shape[1:])
    n_parameters, n_outputs = 9.0 * shape[0] * n_in, n_in * pixels
    for place, channels in enumerate(WRN_GROUPS):
        n_out = _scaled(channels, options["width"] * scale)
        pixels /= 4 if place else 1
        shortcut = n_in * n_out if place or n_in != n_out else 0.0
        first = 2 * n_in + 9 * n_in * n_out + 2 * n_out + 9 * n_out * n_out + shortcut
        n_parameters += first + (n_blocks - 1) * (4 * n_out + 18 * n_out * n_out)
        n_outputs += n_blocks * 2 * n_out * pixels
        n_in = n_out
    return Size(n_parameters + 2 * n_in + (n_in + 1) * classes, n_outputs + classes)


def resnet50(shape: tuple[int, ...], classes: int, options: Mapping[str, float], scale: float) -> Size:
    """See `rigl_core.models.resnet`, with the stem for small images; items are images (C, H, W)."""
    scale *= options.get("width", 1.0)
    n_in, pixels = _scaled(64, scale), _pixels(shape[1:])
    n_parameters, n_outputs = 9.0 * shape[0] * n_in + 2 * n_in, n_in * pixels
    for place, (channels, n_blocks) in enumerate(RESNET50_STAGES):
        n_mid = _scaled(channels, scale)
        n_out = 4 * n_mid
        pixels /= 4 if place else 1
        for block in range(n_blocks):
            shortcut = 0.0 if block else n_in * n_out + 2 * n_out
            n_parameters += n_in * n_mid + 9 * n_mid * n_mid + n_mid * n_out + 4 * n_mid + 2 * n_out + shortcut
            n_outputs += (2 * n_mid + n_out) * pixels
            n_in = n_out
    return Size(n_parameters + (n_in + 1) * classes, n_outputs + classes)


def char_gru(shape: tuple[int, ...], classes: int, options: Mapping[str, float], scale: float) -> Size:
    """See `rigl_core.models.char_gru`; items are sequences of text (L,), classes its symbols."""
    scale *= options.get("width", 1.0)
    embedding, units, first, second = (_scaled(n, scale) for n in (128, 512, 256, 128))
    layers = ((embedding, 3 * units), (units, 3 * units), (units, first), (first, second), (second, float(classes)))
    n_parameters = classes * embedding + sum((n_in + 1) * n_out for n_in, n_out in layers)
    return Size(n_parameters, shape[0] * sum(n_out for _, n_out in layers))


def _scaled(units: int, scale: float) -> float:
    """Units of a layer at a width: rounded, as the networks do, at least 1."""
    exact = units * scale
    return float(max(1, round(exact))) if exact < 2**53 else exact


def _pixels(shape: tuple[int, ...]) -> float:
    """The product of the sizes; infinite where no float holds it."""
    product = 1.0
    for size in shape:
        product *= size if size < 2**1000 else float("inf")
    return product
