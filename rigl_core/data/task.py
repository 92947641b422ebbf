"""What training needs of a data set, whatever is in it: images to classify or text to continue."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor

from rigl_core.config import TrainConfig
from rigl_core.data import get_dataset


class Task(Protocol):
    """Items to learn from: what a network is given, and the classes it should answer with.

    An image has one target, its label; a sequence of text has one at each position, the character that follows. A
    network answers with logits of the shape of the targets and one more dimension for the classes, so that one loss
    (cross-entropy) and one accuracy (of all targets) serve both. `ImageData` and `TextData` are tasks.
    """

    @property
    def name(self) -> str:
        """Key of DATASETS."""

    @property
    def n_train(self) -> int:
        """How many items there are to train on."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of what the network is given, one item, without the batch dimension."""

    @property
    def input_dtype(self) -> torch.dtype:
        """Its type."""

    @property
    def predicts_characters(self) -> bool:
        """Whether a target is a character, so that bits per character mean something."""

    def model_arguments(self) -> dict[str, Any]:
        """The keyword arguments by which a model is told of the data."""

    def to(self, device: torch.device | str) -> Self:
        """The same data on `device`."""

    def first(self, n: int) -> Self:
        """The same data with only the first `n` training items.

        Raises:
            BadInput: there are not so many.
        """

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (N, *input_shape) and targets, int64 (N, ...), of the training items at the indices `chosen` (N,)."""

    def held_out(self, part: Literal["val", "test"]) -> Iterator[tuple[Tensor, Tensor]]:
        """All inputs and targets of a held-out part, in batches as `batch` gives them."""


def load_task(config: TrainConfig, data_dir: Path | None = None) -> Task:
    """Read the data of `config` into memory (on the CPU), downloading them first if they are nowhere on this machine.

    Args:
        config: what is to be trained.
        data_dir: where to look first and to download to; see `rigl_core.data.find` for the whole search.

    Raises:
        BadInput: an option outside its range, or a text that is too short.
        DataUnavailable: not found and not to be downloaded, another file than the one meant, or a damaged one.
    """
    dataset = get_dataset(config.dataset)
    file = {"text_file": config.text_file, "text_sha256": config.text_sha256} if dataset.reads_file else {}
    task: Task = dataset(data_dir=data_dir, download=True, **config.dataset_options, **file)
    return task
