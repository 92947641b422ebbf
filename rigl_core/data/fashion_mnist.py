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


def read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Read an IDX file of unsigned bytes, gzipped if its name ends in .gz.

    The format (LeCun, Cortes & Burges, "The MNIST database"), big-endian: two zero bytes, the element type, the number
    of dimensions, each dimension as a 32-bit integer, the elements. No more is read, or unpacked, than `shape` takes.

    Args:
        path: the file.
        shape: of what it must hold.

    Returns:
        uint8, of that shape.

    Raises:
        DataUnavailable: the file cannot be read, is not such a file, holds another shape, or is cut short or too long.
    """
    n_header, n_elements = 4 + 4 * len(shape), math.prod(shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(n_header + n_elements + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, f"cannot be read ({error})") from error
    if len(content) < n_header:
        raise damaged(path, f"is cut short: {len(content)} bytes, fewer than its header")
    magic = struct.unpack(">I", content[:4])[0]
    expected_magic = _IDX_UNSIGNED_BYTE << 8 | len(shape)
    if magic != expected_magic:
        raise damaged(
            path, f"is not the expected IDX file: its magic number is {magic:#010x}, not {expected_magic:#010x}"
        )
    there = struct.unpack(f">{len(shape)}I", content[4:n_header])
    if there != shape:
        is_labels = len(shape) == 1
        found = f"{there[0]} labels, not {shape[0]}" if is_labels else f"images of shape {there}, not {shape}"
        raise damaged(path, f"holds {found}")
    if len(content) - n_header != n_elements:
        found = f"{len(content) - n_header:,}" if len(content) - n_header < n_elements else "more"
        raise damaged(path, f"holds {found} bytes of data; its header says {n_elements:,}")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=n_header).reshape(shape).copy())


def _read(folder: Path, part: str, n_expected: int) -> Split:
    """The images and labels of `part` ("train" or "t10k")."""
    files = FILES["fashion_mnist"]
    labels_path = files.path(folder, f"{part}-labels-idx1-ubyte")
    images = read_idx(files.path(folder, f"{part}-images-idx3-ubyte"), (n_expected, 28, 28))
    labels = read_idx(labels_path, (n_expected,))
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
