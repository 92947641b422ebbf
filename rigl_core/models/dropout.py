"""Dropout that draws from a generator of its own.

Several replicas of one trial are trained in lockstep in one process. With `torch.nn.Dropout` they would all draw from
torch's global random number generator, and a replica's result would depend on how many others train beside it.
"""

import torch
from torch import Tensor, nn

from rigl_core.errors import BadInput

LEVELS = 2**16
"""On a CPU the probability is a whole multiple of 1/LEVELS, and what is kept is scaled by exactly that."""


class Dropout(nn.Module):
    """Zeroes each element with probability `p` and scales the others by 1/(1 − p) (Srivastava et al. 2014).

    Input and output have the same shape, any. The identity when evaluating or when `p` is 0.

    Attributes:
        p: probability of an element to be dropped, in [0, 1).
        generator: where the random numbers come from, on the device of the input; None is torch's global generator.
            It is not part of `state_dict`: whoever set it (see `seed_dropout`) saves and restores its state.
        keep: what to keep of the next input, from `draw_`, for those who draw before the pass; None draws in it.

    Raises (on construction):
        BadInput: `p` outside [0, 1).
    """

    def __init__(self, p: float, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise BadInput(f"dropout is {p}; it is the probability of dropping an element and must be in [0, 1).")
        self.p = p
        self.generator = generator
        self.keep: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of `x` while training."""
        if not self.training or self.p == 0.0:
            return x
        kept_share = 1.0 - (self._n_dropped / LEVELS if x.device.type == "cpu" else self.p)
        if self.keep is not None:
            return x * (self.keep.to(x.dtype) / kept_share)
        return x * self.draw_(torch.empty_like(x)).div_(kept_share)

    def draw_(self, keep: Tensor) -> Tensor:
        """Fill `keep`, of an input's shape and any type, anew: 1 where an element is kept, 0 where it is dropped."""
        if keep.device.type != "cpu":
            return keep.bernoulli_(1.0 - self.p, generator=self.generator)
        # A CPU draws one number after the other, and that takes longer than a convolution: four elements share one.
        n_numbers = -(-keep.numel() // 4)
        numbers = torch.empty(n_numbers, dtype=torch.int64).random_(-(2**63), None, generator=self.generator)
        level = numbers.view(torch.int16)[: keep.numel()].view(keep.shape)
        return keep.copy_(level >= self._n_dropped - LEVELS // 2)

    @property
    def _n_dropped(self) -> int:
        """Of LEVELS, on a CPU; never all of them."""
        return min(round(self.p * LEVELS), LEVELS - 1)

    def extra_repr(self) -> str:
        """What `repr` shows between the brackets."""
        return f"p={self.p}"


def seed_dropout(model: nn.Module, generator: torch.Generator | None) -> None:
    """Let every `Dropout` in `model` draw from `generator`, in the order in which they are called.

    Args:
        model: changed in place.
        generator: on the device the model runs on; None goes back to torch's global generator.
    """
    for module in model.modules():
        if isinstance(module, Dropout):
            module.generator = generator
