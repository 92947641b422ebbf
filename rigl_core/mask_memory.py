"""Where the masks of an optimizer are kept, so that a recorded step finds them there."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MaskMemory:
    """Where masks are kept, in memory that never moves.

    Attributes:
        masks: bools, laid out as the weights are.
        numbers: the same as ones and zeros, which multiply all layers in one launch, as bools cannot; empty where
            nothing is multiplied.
    """

    masks: dict[str, Tensor]
    numbers: dict[str, Tensor]

    @classmethod
    def like(cls, weights: Mapping[str, Tensor], *, numbers: bool) -> "MaskMemory":
        """Memory for the masks of these weights, its contents anything."""
        masks = {name: torch.empty_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        return cls(masks, {name: torch.empty_like(weight) for name, weight in weights.items()} if numbers else {})

    @torch.no_grad()
    def fill(self, masks: Mapping[str, Tensor]) -> None:
        """Keep these masks, on whatever device and however laid out they are."""
        for kept in (self.masks, self.numbers):
            for name, tensor in kept.items():
                tensor.copy_(masks[name])
