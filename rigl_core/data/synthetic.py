"""Made-up images that a network can learn, of any shape and number: for tests and for timing."""

from pathlib import Path

import numpy as np
import torch

from rigl_core.data.images import ImageData, Split, channel_statistics
from rigl_core.errors import BadInput

_SEED = 0
_PATTERN_STD, _NOISE_STD = 32.0, 48.0
"Of 256 grey levels around the middle: noisy enough that a network needs some training, far from hopeless."


def load(
    *,
    channels: float = 3,
    height: float = 32,
    width: float = 32,
    num_classes: float = 10,
    n_train: float = 2_000,
    n_eval: float = 500,
    data_dir: Path | None = None,  # noqa: ARG001 - as every data set
    download: bool = True,  # noqa: ARG001 - as every data set
) -> ImageData:
    """Each class is a fixed random pattern; each image is the pattern of its class and noise. The same on every call.

    Classes are equally frequent (to within one image). Study files hold every number as a float: 32.0 is as good as 32.

    Args:
        channels: C.
        height: H.
        width: W.
        num_classes: how many patterns.
        n_train: number of training images.
        n_eval: number of validation images, and of test images.
        data_dir: not used; nothing is read from files.
        download: not used; nothing is ever downloaded.

    Raises:
        BadInput: a number that is not whole or below 1.
    """
    shape = (_count("channels", channels), _count("height", height), _count("width", width))
    n_classes = _count("num_classes", num_classes)
    random = np.random.RandomState(_SEED)  # its numbers are the same in every version of NumPy
    patterns = random.normal(127.5, _PATTERN_STD, size=(n_classes, *shape))

    def draw(n: int) -> Split:
        labels = random.permutation(np.arange(n) % n_classes)
        images = patterns[labels] + random.normal(0.0, _NOISE_STD, size=(n, *shape))
        return Split(torch.from_numpy(images.round().clip(0, 255).astype(np.uint8)), torch.from_numpy(labels))

    train = draw(_count("n_train", n_train))
    val, test = (draw(_count("n_eval", n_eval)) for _ in range(2))
    mean, std = channel_statistics(train.images)
    return ImageData("synthetic", train, val, test, num_classes=n_classes, mean=mean, std=std)


def _count(option: str, value: float) -> int:
    if value < 1 or value != int(value):
        raise BadInput(f'data set "synthetic": {option} is {value}; it must be a whole number of at least 1.')
    return int(value)
