"""scikit-learn's handwritten digits (Alpaydin & Kaynak 1998): 1,797 grey images of 8×8, which come with the library."""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from rigl_core.data.images import ImageData, channel_statistics, seeded_split

N_VAL = N_TEST = 250
BRIGHTEST = 16
"Pixels are counts of black bits in a 4×4 block: 0 to 16."


def load(*, data_dir: Path | None = None, download: bool = True) -> ImageData:  # noqa: ARG001 - as every data set
    """The digits: 1,297 images to train, 250 to validate, 250 to test; (1, 8, 8), pixels scaled to 0..255.

    Args:
        data_dir: not used; nothing is read from files of the user.
        download: not used; nothing is ever downloaded.
    """
    given = load_digits()
    images = torch.from_numpy(np.round(given.images * (255 / BRIGHTEST)).astype(np.uint8)).unsqueeze(1)
    rest, test = seeded_split(images, torch.from_numpy(given.target.astype(np.int64)), N_TEST)
    train, val = seeded_split(rest.images, rest.labels, N_VAL)
    mean, std = channel_statistics(train.images)
    return ImageData("digits", train, val, test, num_classes=10, mean=mean, std=std)
