"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32×32 colour photographs of 10 or 100 kinds of things.

The files are Python pickles, which can run code when they are loaded. They are read by torchvision, which first checks
that each is, by its MD5 sum, the published one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rigl_core.data.download import damaged, find_or_download
from rigl_core.data.images import ImageData, Split, seeded_split
from rigl_core.errors import DataUnavailable
from rigl_core.torchvision_compat import import_torchvision_datasets

N_VAL = 5_000
LARGEST_FILE = 200_000_000
"Bytes; the largest of all, CIFAR-100's train, has 155 million. A larger file is another, whatever its MD5 sum is."


@dataclass(frozen=True)
class _Variant:
    """What differs between the two; mean and standard deviation are of the 50,000 training images, pixels in [0, 1]."""

    name: str
    torchvision_class: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


_VARIANTS = {
    10: _Variant("cifar10", "CIFAR10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    100: _Variant("cifar100", "CIFAR100", (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


def _read(dataset_class: Any, root: Path, *, train: bool) -> Split:
    """The training or test images in `root`, in the order of the files."""
    for path in _files(dataset_class, root):
        if path.is_file() and path.stat().st_size > LARGEST_FILE:
            raise damaged(path, f"has {path.stat().st_size:,} bytes, more than any file of CIFAR")
    try:
        given = dataset_class(root, train=train, download=False)
    except RuntimeError as error:  # torchvision does not say which file it was
        raise _damaged_file(dataset_class, root, error) from error
    images = torch.from_numpy(given.data).permute(0, 3, 1, 2).contiguous()
    return Split(images, torch.tensor(given.targets, dtype=torch.int64))


def _files(dataset_class: Any, root: Path) -> dict[Path, str]:
    """All files of the data set, with their published MD5 sums."""
    meta = dataset_class.meta
    listed = (*dataset_class.train_list, *dataset_class.test_list, (meta["filename"], meta["md5"]))
    return {root / dataset_class.base_folder / name: md5 for name, md5 in listed}


def _damaged_file(dataset_class: Any, root: Path, error: RuntimeError) -> DataUnavailable:
    check_integrity = import_torchvision_datasets().utils.check_integrity
    for path, md5 in _files(dataset_class, root).items():
        if not check_integrity(path, md5):
            return damaged(path, "is damaged (its MD5 sum is not the published one)")
    return DataUnavailable(f"torchvision cannot read {root / dataset_class.base_folder}: {error}")


def load(*, classes: int, data_dir: Path | None = None, download: bool = True) -> ImageData:
    """CIFAR: 45,000 images to train, 5,000 of its training images to validate, 10,000 to test; (3, 32, 32).

    Args:
        classes: 10 or 100 (the fine labels).
        data_dir: where to look first; see `rigl_core.data.find`.
        download: whether to download it when it is not found.

    Raises:
        DataUnavailable: not found and not to be downloaded, or a file is damaged.
    """
    variant = _VARIANTS[classes]
    dataset_class = getattr(import_torchvision_datasets(), variant.torchvision_class)
    folder = find_or_download(
        variant.name, variant.torchvision_class, dataset_class.base_folder, data_dir=data_dir, download=download
    )
    dataset_class = type(variant.torchvision_class, (dataset_class,), {"base_folder": folder.name})  # as it was found
    given = _read(dataset_class, folder.parent, train=True)
    train, val = seeded_split(given.images, given.labels, N_VAL)
    test = _read(dataset_class, folder.parent, train=False)
    return ImageData(variant.name, train, val, test, num_classes=classes, mean=variant.mean, std=variant.std)
