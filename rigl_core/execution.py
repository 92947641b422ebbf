"""How a run is to be computed. It concerns the machine and not what is trained, so it is no part of a `TrainConfig`.

Importing this module does not import torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rigl_core.errors import UnknownName

PRECISIONS: Mapping[str, str] = MappingProxyType(
    {
        "auto": "bfloat16 on a device that has it, float32 elsewhere",
        "float32": "everything in float32",
        "bfloat16": "activations and products in bfloat16; weights and their optimizer in float32",
    }
)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What a user asks for; `rigl_core.plan.make_plan` says what that comes to on a device.

    Attributes:
        precision: a key of PRECISIONS.
        deterministic: only PyTorch's own deterministic operations, one after the other: no recorded steps, no search
            for the quickest algorithm, no convolutions that skip inactive weights. On a CPU runs are reproducible
            without it too, as long as threads, kind of CPU, PyTorch and compiler are the same.
        compiled: whether the network is compiled for the GPU first, see `rigl_core.compiled`.

    Raises (on construction):
        UnknownName: no such precision.
    """

    precision: str = "auto"
    deterministic: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UnknownName("precision", self.precision, PRECISIONS)
