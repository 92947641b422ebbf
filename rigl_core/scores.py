"""What makes a weight worth keeping or growing: pure functions of one layer's tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """What a score may look at, all of one layer; every tensor has the weight's shape.

    Attributes:
        weight: the weights, zero outside the mask.
        gradient: the dense gradient of the loss, not masked.
        generator: source of random numbers, on the weight's device.
    """

    weight: Tensor
    gradient: Tensor
    generator: torch.Generator


Score = Callable[[Layer], Tensor]


def magnitude(layer: Layer) -> Tensor:
    """|w|: small weights matter least (Evci et al. 2020, §3 (3))."""
    return layer.weight.abs()


def gradient(layer: Layer) -> Tensor:
    """|∂L/∂w|: a weight with a large gradient lowers the loss fastest (Evci et al. 2020, §3 (4))."""
    return layer.gradient.abs()


def random(layer: Layer) -> Tensor:
    """Uniform numbers in [0, 1) (SET, Mocanu et al. 2018)."""
    return torch.rand(layer.weight.shape, generator=layer.generator, device=layer.weight.device)


SCORES: Mapping[str, Score] = MappingProxyType({"magnitude": magnitude, "gradient": gradient, "random": random})
