"""Where the masks of an optimizer are kept, so that a recorded step finds them there, and what they do to tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rigl_core.native import zeroing


@dataclass(frozen=True)
class MaskMemory:
    """Where masks are kept, in memory that never moves.

    Attributes:
        masks: bools, laid out as the weights are.
        numbers: the same as ones and zeros, which multiply all layers in one launch, as bools cannot; empty where
            nothing is multiplied, or compiled code multiplies by bools.
    """

    masks: dict[str, Tensor]
    numbers: dict[str, Tensor]

    @classmethod
    def like(cls, weights: Mapping[str, Tensor], *, numbers: bool | None = None) -> "MaskMemory":
        """Memory for the masks of these weights, its contents anything.

        Args:
            weights: by name.
            numbers: whether to keep numbers, too; None where they are needed to multiply.
        """
        if numbers is None:
            numbers = not zeroing.suits(weights.values())
        masks = {name: torch.empty_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        return cls(masks, {name: torch.empty_like(weight) for name, weight in weights.items()} if numbers else {})

    @torch.no_grad()
    def fill(self, masks: Mapping[str, Tensor]) -> None:
        """Keep these masks, on whatever device and however laid out they are."""
        for kept in (self.masks, self.numbers):
            for name, tensor in kept.items():
                tensor.copy_(masks[name])

    @torch.no_grad()
    def zero_outside(self, tensors: Mapping[str, Tensor]) -> None:
        """Multiply tensors of the weights' shapes by the masks, in place."""
        if not tensors:
            return
        if self.numbers:
            torch._foreach_mul_(list(tensors.values()), [self.numbers[name] for name in tensors])
        else:
            zeroing.zero_outside(list(tensors.values()), [self.masks[name] for name in tensors])

    @torch.no_grad()
    def move_to(self, new: list[Tensor], *, newborn: bool) -> dict[str, Tensor]:
        """Keep these masks from now on, in the order of those that are kept.

        Args:
            new: bools on the same device.
            newborn: whether it is asked what is new.

        Returns:
            Of each mask what is zero (or False) for weights that are active now and were not before, otherwise one;
            nothing if that is not asked for.
        """
        kept, numbers = list(self.masks.values()), list(self.numbers.values())
        others: list[Tensor] = []
        if newborn and numbers:
            before = torch._foreach_mul(numbers, 1.0)
            torch._foreach_copy_(numbers, new)
            others = list(torch._foreach_mul(numbers, before))
            torch._foreach_sub_(others, numbers)
            torch._foreach_add_(others, 1.0)  # old · new − new + 1
        elif newborn:
            others = [old | ~now for old, now in zip(kept, new, strict=True)]
        elif numbers:
            torch._foreach_copy_(numbers, new)
        torch._foreach_copy_(kept, new)
        return dict(zip(self.masks, others, strict=True)) if newborn else {}
