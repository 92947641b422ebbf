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
        title: its name as its authors write it.
        summary: one line for people.
        source: the paper the rule comes from.
        train_flops: key of `rigl_core.flops.TRAIN_FLOPS`: what one training sample costs.
        sparse: whether masks are used at all.
        drop: score whose smallest active weights are dropped; None where nothing is dropped and grown.
        grow: score whose largest inactive weights are grown.
        redistribute: score whose mean over a layer's active weights decides its share of what all layers grow; None
            where every layer grows what it dropped.
        dense_momentum: whether the optimizer's moments are kept for inactive weights too.
        ramp: whether training starts dense and prunes along a cubic ramp.
        narrow: whether the network is dense at width √(1 − S) instead of masked.
        warmup_steps: of the learning rate, unless a run says otherwise.
        replaces_weight_step: whether a topology step takes the place of the weight step, as in the code of Sundar &
            Dwaraknath 2021; google-research/rigl makes both for SET and SNFS.
    """

    title: str
    summary: str
    source: str
    train_flops: str
    sparse: bool = True
    drop: str | None = None
    grow: str | None = None
    redistribute: str | None = None
    dense_momentum: bool = False
    ramp: bool = False
    narrow: bool = False
    warmup_steps: int = 0
    replaces_weight_step: bool = True

    @property
    def updates_topology(self) -> bool:
        """Whether the masks move during training."""
        return self.drop is not None or self.ramp

    @property
    def needs_momentum(self) -> bool:
        """Whether a score looks at the optimizer's momentum."""
        return "momentum" in (self.drop, self.grow, self.redistribute)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "dense": Method(
            title="dense",
            summary="every weight is trained; the reference for accuracy and FLOPs",
            source="-",
            train_flops="dense",
            sparse=False,
        ),
        "small_dense": Method(
            title="small-dense",
            summary="a dense network at width √(1 − S), so that it has about as many parameters",
            source="Evci et al. 2020, §4 (Small-Dense)",
            train_flops="static",
            sparse=False,
            narrow=True,
        ),
        "static": Method(
            title="static",
            summary="random masks, fixed for the whole training",
            source="Evci et al. 2020, §4 (Static)",
            train_flops="static",
        ),
        "set": Method(
            title="SET",
            summary="drop by magnitude, grow at random",
            source="Mocanu et al. 2018",
            train_flops="static",
            drop="magnitude",
            grow="random",
        ),
        "snfs": Method(
            title="SNFS",
            summary="drop by magnitude, grow by momentum, redistribute by mean momentum",
            source="Dettmers & Zettlemoyer 2019",
            train_flops="snfs",
            drop="magnitude",
            grow="momentum",
            redistribute="momentum",
            dense_momentum=True,
        ),
        "rigl": Method(
            title="RigL",
            summary="drop by magnitude, grow by the magnitude of the dense gradient",
            source="Evci et al. 2020, §3",
            train_flops="rigl",
            drop="magnitude",
            grow="gradient",
        ),
        "rigl_sg": Method(
            title="RigL-SG",
            summary="RigL that redistributes by mean gradient",
            source="Sundar & Dwaraknath 2021, §5.4 (RigL-SG)",
            train_flops="rigl",
            drop="magnitude",
            grow="gradient",
            redistribute="gradient",
        ),
        "rigl_sm": Method(
            title="RigL-SM",
            summary="RigL that redistributes by mean momentum",
            source="Sundar & Dwaraknath 2021, §5.4 (RigL-SM)",
            train_flops="rigl",
            drop="magnitude",
            grow="gradient",
            redistribute="momentum",
        ),
        "pruning": Method(
            title="pruning",
            summary="from dense to S by global magnitude along a cubic ramp",
            source="Zhu & Gupta 2018",
            train_flops="static",
            ramp=True,
            warmup_steps=3500,
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
