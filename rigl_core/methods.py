"""Sparse-training methods as rows of parts.

A method is never a subclass: it names a drop score, a grow score (keys of `rigl_core.scores.SCORES`), and a few facts
about how it trains. One pure function, `rigl_core.masks.update_mask`, does every topology update.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rigl_core.errors import UnknownName


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row: which parts a sparse-training method is made of.

    Attributes:
        summary: one line for people.
        source: the paper the rule comes from.
        sparse: whether masks are used at all.
        drop: score whose smallest active weights are dropped; None where the topology never changes.
        grow: score whose largest inactive weights are grown; None where the topology never changes.
        replaces_weight_step: whether a topology step takes the place of the weight step (DESIGN §5).
        train_flops: key of `rigl_core.flops.TRAIN_FLOPS`: what one training sample costs.
    """

    summary: str
    source: str
    train_flops: str
    sparse: bool = True
    drop: str | None = None
    grow: str | None = None
    replaces_weight_step: bool = True

    @property
    def updates_topology(self) -> bool:
        """Whether the masks move during training."""
        return self.drop is not None


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "dense": Method(
            summary="every weight is trained; the reference for accuracy and FLOPs",
            source="-",
            train_flops="dense",
            sparse=False,
        ),
        "static": Method(
            summary="random masks, fixed for the whole training",
            source="Evci et al. 2020, §4 (Static)",
            train_flops="static",
        ),
        "set": Method(
            summary="drop by magnitude, grow at random",
            source="Mocanu et al. 2018",
            train_flops="static",
            drop="magnitude",
            grow="random",
        ),
        "rigl": Method(
            summary="drop by magnitude, grow by the magnitude of the dense gradient",
            source="Evci et al. 2020, §3",
            train_flops="rigl",
            drop="magnitude",
            grow="gradient",
        ),
    }
)


def get_method(name: str) -> Method:
    """The row of METHODS called `name`.

    Raises:
        UnknownName: no such row; the message names the nearest.
    """
    if name not in METHODS:
        raise UnknownName("method", name, METHODS)
    return METHODS[name]
