"""What makes a weight worth keeping or growing: pure functions of one layer's tensors."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """What a score may look at, all of one layer; every tensor has the weight's shape.

    Attributes:
        weight: the weights, zero outside the mask.
        gradient: the dense gradient of the loss, not masked; 0 where it is not finite (see `finite`).
        momentum: what the optimizer remembers of past gradients (see `momentum_of`), likewise; None before its first
            step.
        generator: source of random numbers, on the weight's device.
    """

    weight: Tensor
    gradient: Tensor
    momentum: Tensor | None
    generator: torch.Generator

    @classmethod
    def joined(cls, layers: Collection["Layer"]) -> "Layer":
        """Several layers as one: flat, and one after another."""
        momenta = [layer.momentum for layer in layers]
        return cls(
            flat(layer.weight for layer in layers),
            flat(layer.gradient for layer in layers),
            None if None in momenta else flat(momentum for momentum in momenta if momentum is not None),
            next(iter(layers)).generator,
        )


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """All elements of all tensors, (N,), each in the order of its indices."""
    return torch.cat([tensor.flatten() for tensor in tensors])


Score = Callable[[Layer], Tensor]


def weight(layer: Layer) -> Tensor:
    """Weights, of which small |w| matter least (Evci et al. 2020, §3 (3))."""
    return layer.weight


def gradient(layer: Layer) -> Tensor:
    """Gradients ∂L/∂w: a weight with a large one lowers the loss fastest (Evci et al. 2020, §3 (4))."""
    return layer.gradient


def momentum(layer: Layer) -> Tensor:
    """Momentum: weights whose gradients keep pointing the same way (SNFS, Dettmers & Zettlemoyer 2019, §3).

    Before the optimizer's first step there is none, and every weight scores 0.
    """
    return torch.zeros_like(layer.weight) if layer.momentum is None else layer.momentum


def random(layer: Layer) -> Tensor:
    """Uniform numbers in [0, 1) (SET, Mocanu et al. 2018)."""
    return torch.rand(layer.weight.shape, generator=layer.generator, device=layer.weight.device)


SIGNED: Mapping[str, Score] = MappingProxyType(
    {"magnitude": weight, "gradient": gradient, "momentum": momentum, "random": random}
)
"""What a score is the magnitude of: for what ranks by magnitude and needs no copy without signs."""


def _magnitude_of(signed: Score) -> Score:
    @wraps(signed)
    def score(layer: Layer) -> Tensor:
        return signed(layer).abs()

    return score


SCORES: Mapping[str, Score] = MappingProxyType(
    {name: signed if signed is random else _magnitude_of(signed) for name, signed in SIGNED.items()}
)
"""Scores by name, as methods have them; none is negative."""


def momentum_of(state: Mapping[str, Any]) -> Tensor | None:
    """The momentum in an optimizer's state of one weight, None if it has none (yet).

    For SGD its buffer; for Adam the first moment over the root of the second, as SNFS' authors take it; for optimizers
    that keep no such second moment (Adamax, Lion), the first.
    """
    if "exp_avg" in state and "exp_avg_sq" in state:
        first, second = state["exp_avg"], state["exp_avg_sq"]
        ratio: Tensor = first / (second.sqrt() + 1e-8)
        return ratio
    buffer: Tensor | None = state.get("momentum_buffer", state.get("exp_avg"))
    return buffer


def finite(tensor: Tensor) -> Tensor:
    """A copy in which infinite numbers and NaN are 0: they say nothing of a weight, and so get the lowest score."""
    return torch.nan_to_num(tensor, nan=0.0, posinf=0.0, neginf=0.0)
