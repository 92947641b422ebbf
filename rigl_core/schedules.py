"""When the topology changes and how much of it: RigL's update schedule, and the ramp of gradual pruning."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rigl_core.errors import BadInput, UnknownName


def _cosine(progress: float, _power: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _constant(_progress: float, _power: float) -> float:
    return 1.0


def _linear(progress: float, _power: float) -> float:
    return 1.0 - progress


def _inverse_power(progress: float, power: float) -> float:
    return math.pow(1.0 - progress, power)


ANNEALS: Mapping[str, Callable[[float, float], float]] = MappingProxyType(
    {"cosine": _cosine, "constant": _constant, "linear": _linear, "inverse_power": _inverse_power}
)
"""How alpha shrinks (Evci et al. 2020, appendix G): progress t/T_end in [0, 1) and the power k to a factor in [0, 1].

Only "inverse_power" uses k: (1 − t/T_end)^k.
"""


@dataclass(frozen=True, kw_only=True)
class UpdateSchedule:
    """Topology steps every `delta_t` steps while `0 < step < t_end`, dropping an annealed fraction of `alpha`.

    With the cosine anneal, f(t) = alpha/2 · (1 + cos(πt/T_end)) (Evci et al. 2020, §3).

    Args:
        delta_t: steps between topology steps, at least 1.
        t_end: the topology is fixed from this step on; 0 means it never changes.
        alpha: fraction of a layer's active weights dropped at the start, in [0, 1].
        anneal: a key of `ANNEALS`.
        anneal_power: k of the anneal "inverse_power", above 0.

    Raises:
        BadInput: a value outside the ranges above.
        UnknownName: an unknown anneal.
    """

    delta_t: int
    t_end: int
    alpha: float = 0.3
    anneal: str = "cosine"
    anneal_power: float = 3.0

    def __post_init__(self) -> None:
        if self.delta_t < 1:
            raise BadInput(f"delta_t is {self.delta_t}; it counts steps and must be at least 1.")
        if self.t_end < 0:
            raise BadInput(f"t_end is {self.t_end}; it counts steps and must be at least 0.")
        if not 0.0 <= self.alpha <= 1.0:
            raise BadInput(f"alpha is {self.alpha}; it is a fraction of the active weights and must be in [0, 1].")
        if self.anneal not in ANNEALS:
            raise UnknownName("anneal", self.anneal, ANNEALS)
        if not (math.isfinite(self.anneal_power) and self.anneal_power > 0):
            raise BadInput(f"anneal_power is {self.anneal_power}; it must be above 0.")

    def is_update_step(self, step: int) -> bool:
        """Whether the topology changes at `step` (steps count from 0; step 0 never does)."""
        return 0 < step < self.t_end and step % self.delta_t == 0

    def next_update(self, step: int) -> int | None:
        """The first topology step after `step`, which is at least −1; None if there is none."""
        following = (step // self.delta_t + 1) * self.delta_t or self.delta_t
        return following if following < self.t_end else None

    def drop_fraction(self, step: int) -> float:
        """The fraction f(t) of a layer's active weights to drop at `step`; 0 from `t_end` on."""
        if step >= self.t_end:
            return 0.0
        return self.alpha * ANNEALS[self.anneal](step / self.t_end, self.anneal_power)

    def n_updates(self, n_steps: int) -> int:
        """How many topology steps a training of `n_steps` steps contains."""
        return max(0, (min(self.t_end, n_steps) - 1) // self.delta_t)


@dataclass(frozen=True, kw_only=True)
class CubicRamp:
    """Gradual pruning from dense to `sparsity` between `t_start` and `t_end`, every `delta_t` steps.

    s(t) = S · (1 − (1 − (t − t_start)/(t_end − t_start))³) (Zhu & Gupta 2018, equation 1, from sparsity 0). The last
    step is always `t_end`, whatever `delta_t`, so that the network ends at exactly the sparsity asked for.

    Args:
        delta_t: steps between prunings, at least 1.
        t_start: first step at which weights may be dropped.
        t_end: the step that reaches `sparsity`; after `t_start`.
        sparsity: S, in [0, 1).

    Raises:
        BadInput: a value outside the ranges above.
    """

    delta_t: int
    t_start: int
    t_end: int
    sparsity: float

    def __post_init__(self) -> None:
        if self.delta_t < 1:
            raise BadInput(f"delta_t is {self.delta_t}; it counts steps and must be at least 1.")
        if not 0 <= self.t_start < self.t_end:
            raise BadInput(
                f"pruning would go from step {self.t_start} to step {self.t_end}; it must start at 0 or later and end "
                "after it starts. Train for more epochs or lower ramp_start."
            )
        if not 0.0 <= self.sparsity < 1.0:
            raise BadInput(f"sparsity is {self.sparsity}; it is the masked-out fraction and must be in [0, 1).")

    def is_update_step(self, step: int) -> bool:
        """Whether weights are dropped at `step`."""
        return step == self.t_end or (self.t_start < step < self.t_end and (step - self.t_start) % self.delta_t == 0)

    def next_update(self, step: int) -> int | None:
        """The first step after `step` at which weights are dropped; None if there is none."""
        if step >= self.t_end:
            return None
        n_before = max(0, step - self.t_start) // self.delta_t
        return min(self.t_start + (n_before + 1) * self.delta_t, self.t_end)

    def sparsity_at(self, step: int) -> float:
        """The sparsity s(t) to reach at `step`: 0 up to `t_start`, S from `t_end` on."""
        progress = min(1.0, max(0.0, (step - self.t_start) / (self.t_end - self.t_start)))
        return self.sparsity * (1.0 - (1.0 - progress) ** 3)
