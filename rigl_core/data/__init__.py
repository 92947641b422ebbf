"""The data sets a user can name. Importing this module does not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from rigl_core.errors import UnknownName
from rigl_core.lazy import Lazy


@dataclass(frozen=True)
class Dataset(Lazy):
    """A data set: called with `data_dir` (or None), `download` and its options, gives its `rigl_core.data.task.Task`.

    That is a `data.images.ImageData` for images and a `data.text.TextData` for text.

    Attributes:
        title: its name as people write it.
        summary: one line for people.
        num_classes: how many labels there are, where no option says otherwise; of images only, a text's symbols are
            counted when it is read.
        image_shape: (C, H, W) of one image, where no option says otherwise.
        n_train: how many items there are to train on, where no option says otherwise; None where a text decides.
        takes: the options a user may set (`dataset_options` in a study), with their types.
        kind: what is in it; a model must read it.
        reads_file: whether the user names the file, with `text_file` and `text_sha256`.
    """

    title: str = ""
    summary: str = ""
    num_classes: int = 10
    image_shape: tuple[int, int, int] = (1, 28, 28)
    n_train: int | None = None
    takes: Mapping[str, type] = field(default_factory=dict)
    kind: Literal["images", "text"] = "images"
    reads_file: bool = False

    def shape(self, options: Mapping[str, float]) -> tuple[int, int, int]:
        """(C, H, W) of one image with these options, without reading any."""
        channels, height, width = self.image_shape
        return (
            int(options.get("channels", channels)),
            int(options.get("height", height)),
            int(options.get("width", width)),
        )

    def n_classes(self, options: Mapping[str, float]) -> int:
        """`num_classes` with these options."""
        return int(options.get("num_classes", self.num_classes))

    def n_items(self, options: Mapping[str, float]) -> int | None:
        """`n_train` with these options."""
        return int(options["n_train"]) if "n_train" in options else self.n_train


DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "fashion_mnist": Dataset(
            "rigl_core.data.fashion_mnist",
            "load",
            title="Fashion-MNIST",
            summary="60,000 + 10,000 images of clothing, 28×28 grey; 55k/5k/10k",
            n_train=55_000,
        ),
        "digits": Dataset(
            "rigl_core.data.digits",
            "load",
            title="digits",
            summary="scikit-learn's 1,797 handwritten digits, 8×8 grey; needs no download",
            image_shape=(1, 8, 8),
            n_train=1_297,
        ),
        "cifar10": Dataset(
            "rigl_core.data.cifar",
            "load",
            {"classes": 10},
            title="CIFAR-10",
            summary="60,000 colour photographs, 32×32, 10 classes; 45k/5k/10k",
            image_shape=(3, 32, 32),
            n_train=45_000,
        ),
        "cifar100": Dataset(
            "rigl_core.data.cifar",
            "load",
            {"classes": 100},
            title="CIFAR-100",
            summary="60,000 colour photographs, 32×32, 100 classes; 45k/5k/10k",
            num_classes=100,
            image_shape=(3, 32, 32),
            n_train=45_000,
        ),
        "synthetic": Dataset(
            "rigl_core.data.synthetic",
            "load",
            title="made-up images",
            summary="made-up images with a learnable class pattern, of any shape, for tests and timing",
            image_shape=(3, 32, 32),
            n_train=2_000,
            takes={"channels": int, "height": int, "width": int, "num_classes": int, "n_train": int, "n_eval": int},
        ),
        "text": Dataset(
            "rigl_core.data.text",
            "load",
            title="text",
            summary="the characters of any UTF-8 text you name with text_file; 90 % / 5 % / 5 %",
            takes={"sequence_length": int},
            kind="text",
            reads_file=True,
        ),
        "synthetic_text": Dataset(
            "rigl_core.data.synthetic_text",
            "load",
            title="made-up text",
            summary="made-up sentences with a learnable grammar, of any length, for tests and timing",
            takes={"n_characters": int, "sequence_length": int},
            kind="text",
        ),
    }
)


def get_dataset(name: str) -> Dataset:
    """The row of DATASETS called `name`.

    Raises:
        UnknownName: no such row.
    """
    if name not in DATASETS:
        raise UnknownName("data set", name, DATASETS)
    return DATASETS[name]
