"""What tensors in a forward pass are made of: parts of weights; and how often each element of a weight is used."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rigl_core.distributions import Shape


@dataclass(frozen=True)
class Part:
    """A view of a weight, described as `torch.as_strided` does."""

    weight: str
    size: Shape
    stride: Shape
    offset: int

    @property
    def numel(self) -> int:
        """Number of elements, repeated ones included."""
        return math.prod(self.size)


@dataclass(frozen=True)
class Made:
    """What a tensor is made of: views of weights, their zeros in place, and `others` elements from elsewhere."""

    parts: tuple[Part, ...]
    others: int = 0

    @property
    def weights(self) -> tuple[str, ...]:
        """Their names, each once."""
        return tuple(dict.fromkeys(part.weight for part in self.parts))

    @property
    def numel(self) -> int:
        """Number of elements, of parts and others."""
        return sum(part.numel for part in self.parts) + self.others

    def repeated(self, times: int) -> "Made":
        """The same, with each element so often."""
        parts = tuple(Part(p.weight, (times, *p.size), (0, *p.stride), p.offset) for p in self.parts)
        return Made(parts, times * self.others)


@dataclass(frozen=True)
class Mixed:
    """A tensor that depends on weights, through an operation that may put something else where a weight is zero."""

    weights: tuple[str, ...]
    operation: str


class Uses:
    """FLOPs of each element of a weight.

    Attributes:
        each: those that all elements have.
        more: those that differ, by position in the storage, int64; None where there are none.
        met_sample_in: operations without a product that had both the weight and the sample.
    """

    def __init__(self, weight: Tensor) -> None:
        self.each = 0
        self.more: Tensor | None = None
        self.met_sample_in: list[str] = []
        self._weight = weight
        self._room = weight.untyped_storage().nbytes() // weight.element_size()

    def add(self, part: Part, flops: int) -> None:
        """Count a product of `part` with something else, each element of the part as often as the others."""
        each = flops // part.numel
        dims = sorted((stride, size) for stride, size in zip(part.stride, part.size, strict=True) if size > 1)
        expected, repeated = 1, 1
        for stride, size in dims:
            if stride == 0:
                repeated *= size
            else:
                expected = expected * size if stride == expected else 0
        if expected == self._weight.numel():  # the whole weight, in any order of its dimensions
            self.each += repeated * each
            return
        positions = torch.arange(self._room, device="cpu").as_strided(part.size, part.stride, part.offset).flatten()
        if self.more is None:
            self.more = torch.zeros(self._room, dtype=torch.int64, device="cpu")
        self.more += each * torch.bincount(positions, minlength=self._room)

    def of_elements(self) -> int | Tensor:
        """A number where all elements have the same, otherwise int64 of the weight's shape."""
        if self.more is None:
            return self.each
        weight = self._weight
        more = self.more.as_strided(weight.shape, weight.stride(), int(weight.storage_offset()))
        if int(more.min()) == int(more.max()):
            return self.each + int(more.min())
        return (self.each + more).contiguous()
