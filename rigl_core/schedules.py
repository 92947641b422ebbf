"""When the topology changes and how much of it: RigL's update schedule."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rigl_core.errors import BadInput, UnknownName


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _constant(_progress: float) -> float:
    return 1.0


def _linear(progress: float) -> float:
    return 1.0 - progress


ANNEALS: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {"cosine": _cosine, "constant": _constant, "linear": _linear}
)
"""How alpha shrinks: a function of progress t/T_end in [0, 1) to a factor in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class UpdateSchedule:
    """Topology steps every `delta_t` steps while `0 < step < t_end`, dropping an annealed fraction of `alpha`.

    With the cosine anneal, f(t) = alpha/2 · (1 + cos(πt/T_end)) (Evci et al. 2020, §3).

    Args:
        delta_t: steps between topology steps, at least 1.
        t_end: the topology is fixed from this step on; 0 means it never changes.
        alpha: fraction of a layer's active weights dropped at the start, in [0, 1].
        anneal: a key of `ANNEALS`.

    Raises:
        BadInput: a value outside the ranges above.
        UnknownName: an unknown anneal.
    """

    delta_t: int
    t_end: int
    alpha: float = 0.3
    anneal: str = "cosine"

    def __post_init__(self) -> None:
        if self.delta_t < 1:
            raise BadInput(f"delta_t is {self.delta_t}; it counts steps and must be at least 1.")
        if self.t_end < 0:
            raise BadInput(f"t_end is {self.t_end}; it counts steps and must be at least 0.")
        if not 0.0 <= self.alpha <= 1.0:
            raise BadInput(f"alpha is {self.alpha}; it is a fraction of the active weights and must be in [0, 1].")
        if self.anneal not in ANNEALS:
            raise UnknownName("anneal", self.anneal, ANNEALS)

    def is_update_step(self, step: int) -> bool:
        """Whether the topology changes at `step` (steps count from 0; step 0 never does)."""
        return 0 < step < self.t_end and step % self.delta_t == 0

    def drop_fraction(self, step: int) -> float:
        """The fraction f(t) of a layer's active weights to drop at `step`; 0 from `t_end` on."""
        if step >= self.t_end:
            return 0.0
        return self.alpha * ANNEALS[self.anneal](step / self.t_end)

    def n_updates(self, n_steps: int) -> int:
        """How many topology steps a training of `n_steps` steps contains."""
        return max(0, (min(self.t_end, n_steps) - 1) // self.delta_t)
