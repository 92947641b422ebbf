"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): 28×28 grey images of ten kinds of clothing, in MNIST's IDX files."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rigl_core.data.download import damaged, find_or_download
from rigl_core.data.find import FILES
from rigl_core.data.images import ImageData, Split, seeded_split

N_TRAIN_FILE, N_TEST_FILE = 60_000, 10_000
N_VAL = 5_000
NUM_CLASSES = 10
MEAN, STD = (0.2860,), (0.3530,)
"Of all 60,000 training images, pixels in [0, 1]."

_IDX_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, *, ndim: int) -> Tensor:
    """Read an IDX file of unsigned bytes, gzipped if its name ends in .gz.

    The format (LeCun, Cortes & Burges, "The MNIST database"), big-endian: two zero bytes, the element type, the number
    of dimensions, each dimension as a 32-bit integer, the elements.

    Args:
        path: the file.
        ndim: how many dimensions it must have.

    Returns:
        uint8, of the shape the file says.

    Raises:
        DataUnavailable: the file cannot be read, is not such a file, or is cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, f"cannot be read ({error})") from error
    header = 4 + 4 * ndim
    if len(content) < header:
        raise damaged(path, f"is cut short: {len(content)} bytes, fewer than its header")
    magic = struct.unpack(">I", content[:4])[0]
    expected_magic = _IDX_UNSIGNED_BYTE << 8 | ndim
    if magic != expected_magic:
        raise damaged(
            path, f"is not the expected IDX file: its magic number is {magic:#010x}, not {expected_magic:#010x}"
        )
    shape = struct.unpack(f">{ndim}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise damaged(path, f"holds {len(content) - header} bytes of data; its header says {math.prod(shape)}")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape).copy())


def _read(folder: Path, part: str, n_expected: int) -> Split:
    """The images and labels of `part` ("train" or "t10k")."""
    files = FILES["fashion_mnist"]
    images_path = files.path(folder, f"{part}-images-idx3-ubyte")
    labels_path = files.path(folder, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, ndim=3), read_idx(labels_path, ndim=1)
    if images.shape != (n_expected, 28, 28):
        raise damaged(images_path, f"holds images of shape {tuple(images.shape)}, not {(n_expected, 28, 28)}")
    if labels.shape != (n_expected,):
        raise damaged(labels_path, f"holds {len(labels)} labels, not {n_expected}")
    if labels.max() >= NUM_CLASSES:
        raise damaged(labels_path, f"holds the label {int(labels.max())}; labels are 0 to {NUM_CLASSES - 1}")
    return Split(images.unsqueeze(1), labels.to(torch.int64))


def load(*, data_dir: Path | None = None, download: bool = True) -> ImageData:
    """Fashion-MNIST: 55,000 images to train, 5,000 of its training images to validate, 10,000 to test; (1, 28, 28).

    Args:
        data_dir: where to look first; see `rigl_core.data.find`.
        download: whether to download it when it is not found.

    Raises:
        DataUnavailable: not found and not to be downloaded, or a file is damaged.
    """
    folder = find_or_download("fashion_mnist", "FashionMNIST", "FashionMNIST", data_dir=data_dir, download=download)
    given = _read(folder, "train", N_TRAIN_FILE)
    train, val = seeded_split(given.images, given.labels, N_VAL)
    test = _read(folder, "t10k", N_TEST_FILE)
    return ImageData("fashion_mnist", train, val, test, num_classes=NUM_CLASSES, mean=MEAN, std=STD)
