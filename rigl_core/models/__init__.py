"""The networks a user can name. Importing this module does not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from rigl_core.errors import UnknownName
from rigl_core.lazy import Lazy
from rigl_core.models import sizes


@dataclass(frozen=True)
class Model(Lazy):
    """A network: called with what its data say of themselves and its own options, gives the module.

    Images say `num_classes`, `in_channels` and `image_size` (H, W), text says `num_classes`. Every model also takes a
    `width_multiplier`, for the method `small_dense`.

    Attributes:
        title: its name as people write it.
        summary: one line for people.
        takes: the options a user may set (`model_options` in a study), with their types.
        reads: the kind of data set it learns from. A network that reads text begins with an embedding of its symbols.
        smallest_image: pixels that its images must have on either side; fewer would vanish where it halves them,
            and of exactly as many one is left at the end.
        size: how large it becomes, so that what no machine could hold is refused before anything is made; None where
            nobody says.
    """

    title: str = ""
    summary: str = ""
    takes: Mapping[str, type] = field(default_factory=dict)
    reads: Literal["images", "text"] = "images"
    smallest_image: int = 1
    size: sizes.SizeOf | None = None


_WRN = "rigl_core.models.wide_resnet"
MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "lenet_300_100": Model(
            "rigl_core.models.lenet",
            "lenet_300_100",
            title="LeNet-300-100",
            summary="784-300-100-10 perceptron for small images",
            size=sizes.lenet_300_100,
        ),
        "wrn_22_2": Model(
            _WRN,
            "wide_resnet",
            {"depth": 22, "width": 2, "dropout": 0.3},
            title="WRN-22-2",
            summary="Wide ResNet of depth 22 and width 2, dropout 0.3",
            takes={"dropout": float},
            smallest_image=4,
            size=sizes.wide_resnet,
        ),
        "wrn_10_1": Model(
            _WRN,
            "wide_resnet",
            {"depth": 10, "width": 1, "dropout": 0.0},
            title="WRN-10-1",
            summary="the smallest Wide ResNet, for a quick look",
            takes={"dropout": float},
            smallest_image=4,
            size=sizes.wide_resnet,
        ),
        "resnet50": Model(
            "rigl_core.models.resnet",
            "resnet50",
            title="ResNet-50",
            summary="ResNet-50 with a 3×3 stem for small images",
            takes={"width": float},
            smallest_image=8,
            size=sizes.resnet50,
        ),
        "wrn": Model(
            _WRN,
            "wide_resnet",
            {"depth": 16, "width": 1, "dropout": 0.0},
            title="Wide ResNet",
            summary="Wide ResNet of any depth (6n + 4) and width",
            takes={"depth": int, "width": float, "dropout": float},
            smallest_image=4,
            size=sizes.wide_resnet,
        ),
        "char_gru": Model(
            "rigl_core.models.char_gru",
            "char_gru",
            title="character GRU",
            summary="the RigL paper's character-level GRU of 512 units, for text",
            takes={"width": float},
            reads="text",
            size=sizes.char_gru,
        ),
    }
)


def get_model(name: str) -> Model:
    """The row of MODELS called `name`.

    Raises:
        UnknownName: no such row.
    """
    if name not in MODELS:
        raise UnknownName("model", name, MODELS)
    return MODELS[name]
