"""The costs that accuracy is set against: columns of the frame and how their values read."""

from collections.abc import Callable
from dataclasses import dataclass

from studies.reporting.wording import duration, multiple


@dataclass(frozen=True)
class Cost:
    """One kind of cost.

    Attributes:
        column: of the frame.
        noun: what it is, in words.
        axis: what stands below its axis.
        shown: a value in words.
    """

    column: str
    noun: str
    axis: str
    shown: Callable[[float], str]


def weights(n: float) -> str:
    """A number of weights in three digits, "1.08 M", "266 k"."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:.0f}"


COSTS = (
    Cost("train_flops", "training FLOPs", "training FLOPs, multiple of dense", multiple),
    Cost("inference_flops", "inference FLOPs", "inference FLOPs, multiple of dense", multiple),
    Cost("n_active", "active weights", "active weights", weights),
    Cost("seconds", "training time", "training time of all seeds", duration),
)
BY_COLUMN = {cost.column: cost for cost in COSTS}
