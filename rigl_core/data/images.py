"""Labelled images in memory: what every data set of images is once it is read."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from rigl_core.errors import BadInput

SPLIT_SEED = 0
"""Fixes which training images are held out for validation, for all data sets, replicas and studies."""

EVAL_BATCH = 1000
"""Images a forward pass when evaluating; has no effect on results beyond rounding."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8, (N, C, H, W).
        labels: int64, (N,), from 0.

    Raises (on construction):
        ValueError: other types or shapes than these.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images are {self.images.dtype} {tuple(self.images.shape)}; expected uint8 (N, C, H, W).")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels are {self.labels.dtype} {tuple(self.labels.shape)}; expected int64 ({len(self.images)},)."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> "Split":
        return Split(self.images[index], self.labels[index])

    def to(self, device: torch.device | str) -> "Split":
        """The same images on `device`."""
        images, labels = self.images.to(device), self.labels.to(device)
        return self if images is self.images and labels is self.labels else Split(images, labels)


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images, split for training, validation (which selects) and test (which selection never looks at).

    A `rigl_core.data.task.Task`: an item is an image, its target its label.

    Attributes:
        name: key of DATASETS.
        train: for gradients.
        val: for choosing hyper-parameters.
        test: for the final number.
        num_classes: labels are in [0, num_classes).
        mean: of each channel over the training images, with pixels in [0, 1].
        std: standard deviation likewise.
    """

    name: str
    train: Split
    val: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    predicts_characters: ClassVar[bool] = False
    input_dtype: ClassVar[torch.dtype] = torch.float32

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of what the network takes, one sample: (C, H, W)."""
        return self.image_shape

    @property
    def n_train(self) -> int:
        """How many images there are to train on."""
        return len(self.train)

    def model_arguments(self) -> dict[str, Any]:
        """What a model must know of the data: `num_classes`, `in_channels` and `image_size` (H, W)."""
        channels, height, width = self.image_shape
        return {"num_classes": self.num_classes, "in_channels": channels, "image_size": (height, width)}

    def batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised training images, float32 (N, C, H, W), and labels, int64 (N,), at the indices `chosen` (N,)."""
        return self.normalise(self.train.images[chosen]), self.train.labels[chosen]

    def held_out(self, part: Literal["val", "test"]) -> Iterator[tuple[Tensor, Tensor]]:
        """All images and labels of a held-out part, in batches as `batch` gives them."""
        split = self.val if part == "val" else self.test
        for start in range(0, len(split), EVAL_BATCH):
            piece = split[start : start + EVAL_BATCH]
            yield self.normalise(piece.images), piece.labels

    def to(self, device: torch.device | str) -> Self:
        """The same data set with all images and labels on `device`; itself where they are there already."""
        train, val, test = (part.to(device) for part in (self.train, self.val, self.test))
        if train is self.train and val is self.val and test is self.test:
            return self
        return replace(self, train=train, val=val, test=test)

    def first(self, n: int) -> Self:
        """The same data set with only the first `n` training images; validation and test stay whole.

        Raises:
            BadInput: `n` is not between 1 and the number of training images.
        """
        if not 1 <= n <= len(self.train):
            raise BadInput(f'train_size is {n}; data set "{self.name}" has 1 to {len(self.train)} training images.')
        return replace(self, train=self.train[:n])

    @functools.cached_property
    def _scale_and_shift(self) -> tuple[Tensor, Tensor]:
        # Kept on the device of the images: making them anew for each batch would copy from the host every time.
        device = self.train.images.device
        mean = torch.tensor(self.mean, device=device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=device).view(-1, 1, 1)
        return 1 / (255 * std), -mean / std

    def normalise(self, batch: Tensor) -> Tensor:
        """Pixels with about mean 0 and standard deviation 1 in each channel: (x/255 − mean)/std.

        Args:
            batch: uint8, (N, C, H, W), on the device of the data set.

        Returns:
            float32, the same shape.
        """
        scale, shift = self._scale_and_shift
        return batch * scale + shift


def seeded_split(images: Tensor, labels: Tensor, n_val: int) -> tuple[Split, Split]:
    """Hold out `n_val` randomly chosen images, the same ones every time (SPLIT_SEED), whatever the replica's seed.

    Both parts are shuffled, so that the first images of either are a fair sample.

    Args:
        images: uint8, (N, C, H, W).
        labels: int64, (N,).
        n_val: how many to hold out, 1 to N − 1.

    Returns:
        The rest (N − n_val) and the held-out images (n_val).

    Raises:
        BadInput: `n_val` out of range.
    """
    whole = Split(images, labels)
    if not 1 <= n_val < len(whole):
        raise BadInput(f"cannot hold out {n_val} of {len(whole)} images; it must be 1 to {len(whole) - 1}.")
    # NumPy promises never to change the numbers of this legacy generator: machines with different versions of NumPy and
    # torch, working on one study, hold out the same images.
    order = torch.from_numpy(np.random.RandomState(SPLIT_SEED).permutation(len(whole)))
    return whole[order[n_val:]], whole[order[:n_val]]


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, with pixels in [0, 1].

    Args:
        images: uint8, (N, C, H, W).
    """
    # On whole numbers the deviation of a constant channel is exactly 0; with 1 in its place the channel becomes 0.
    pixels = images.to(torch.float64).transpose(0, 1).flatten(1)
    mean, std = pixels.mean(dim=1), pixels.std(dim=1, correction=0)
    return tuple((mean / 255).tolist()), tuple(torch.where(std > 0, std / 255, 1.0).tolist())
