"""Where the masks of an optimizer are kept, so that a recorded step finds them there, and what they do to tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from rigl_core.native import zeroing

INTEGERS = MappingProxyType({2: torch.int16, 4: torch.int32, 8: torch.int64})
"""The type of whole numbers by the bytes of a weight."""


@dataclass(frozen=True)
class MaskMemory:
    """Where masks are kept, in memory that never moves.

    Attributes:
        masks: bools, laid out as the weights are.
        numbers: the same as the whole numbers 1 and 0, as wide as a weight. Multiplied by them, a weight's bits stay
            as they are or become those of 0, also where the weight is infinite or NaN, of all layers in one launch.
            Empty where nothing is masked, or compiled code selects by bools.
    """

    masks: dict[str, Tensor]
    numbers: dict[str, Tensor]

    @classmethod
    def like(cls, weights: Mapping[str, Tensor], *, numbers: bool | None = None) -> "MaskMemory":
        """Memory for the masks of these weights, its contents anything.

        Args:
            weights: by name.
            numbers: whether to keep numbers, too; None where they are needed to select.
        """
        if numbers is None:
            numbers = not zeroing.suits(weights.values())
        masks = {name: torch.empty_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        if not numbers:
            return cls(masks, {})
        return cls(
            masks,
            {name: torch.empty_like(w, dtype=INTEGERS[w.element_size()]) for name, w in weights.items()},
        )

    @torch.no_grad()
    def fill(self, masks: Mapping[str, Tensor]) -> None:
        """Keep these masks, on whatever device and however laid out they are."""
        for kept in (self.masks, self.numbers):
            for name, tensor in kept.items():
                tensor.copy_(masks[name])

    @torch.no_grad()
    def zero_outside(self, tensors: Mapping[str, Tensor], *, only_not_finite: bool = False) -> None:
        """Set tensors of the weights' shapes to zero outside the masks, in place, also where they are not finite.

        Args:
            tensors: by the name of the weight.
            only_not_finite: whether finite numbers outside the masks stay as they are.
        """
        if only_not_finite and self.numbers:
            for name, tensor in tensors.items():
                zeroing.zero_outside_by_pytorch(tensor, self.masks[name], only_not_finite=True)
        elif self.numbers:
            select(list(tensors.values()), [self.numbers[name] for name in tensors])
        else:
            masks = [self.masks[name] for name in tensors]
            zeroing.zero_outside(list(tensors.values()), masks, only_not_finite=only_not_finite)

    @torch.no_grad()
    def move_to(self, new: list[Tensor], *, newborn: bool) -> dict[str, Tensor]:
        """Keep these masks from now on, in the order of those that are kept.

        Args:
            new: bools on the same device.
            newborn: whether it is asked what is new.

        Returns:
            Of each mask what is zero (or False) for weights that are active now and were not before, otherwise one;
            nothing if that is not asked for. `select` takes it.
        """
        kept, numbers = list(self.masks.values()), list(self.numbers.values())
        others: list[Tensor] = []
        if newborn and numbers:
            before = torch._foreach_mul(numbers, 1)
            torch._foreach_copy_(numbers, new)
            others = list(torch._foreach_mul(numbers, before))
            torch._foreach_sub_(others, numbers)
            torch._foreach_add_(others, 1)  # old · new − new + 1
        elif newborn:
            others = [old | ~now for old, now in zip(kept, new, strict=True)]
        elif numbers:
            torch._foreach_copy_(numbers, new)
        torch._foreach_copy_(kept, new)
        return dict(zip(self.masks, others, strict=True)) if newborn else {}


def select(tensors: list[Tensor], by: list[Tensor]) -> None:
    """Set tensors to zero where `by`, of whole numbers or bools, is zero; in place, and whatever they are there."""
    if by and by[0].dtype == torch.bool:
        zeroing.zero_outside(tensors, by)
        return
    bits, numbers = [], []
    for tensor, number in zip(tensors, by, strict=True):
        if tensor.element_size() == number.element_size():
            bits.append(tensor.view(number.dtype))
            numbers.append(number)
        else:  # what an optimizer keeps with more bits than the weights have
            zeroing.zero_outside_by_pytorch(tensor, number.bool())
    if bits:
        torch._foreach_mul_(bits, numbers)
