"""The real files are not to be had in a test: these are small ones in CIFAR's own pickled format.

torchvision compares each file with a published MD5 sum before it loads it; the tests put the sums of the small files
in its tables, and so go through its check and its reader.
"""

import hashlib
import pickle

import numpy as np
import pytest
import torch

from rigl_core.data import DATASETS, cifar
from rigl_core.data.images import Split
from rigl_core.errors import DataUnavailable
from rigl_core.torchvision_compat import import_torchvision_datasets

PER_FILE, N_VAL = 20, 7


def write(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))
    return hashlib.md5(path.read_bytes()).hexdigest()


def batch(classes, seed):
    """So many images in CIFAR's layout (rows of 3,072 bytes, red then green then blue), red[0, 0] being the label."""
    random = np.random.RandomState(seed)
    labels = random.randint(0, classes, PER_FILE)
    data = random.randint(0, 256, (PER_FILE, 3072)).astype(np.uint8)
    data[:, 0] = labels
    return {"data": data, "labels" if classes == 10 else "fine_labels": labels.tolist()}


@pytest.fixture(params=[10, 100])
def small(request, tmp_path, monkeypatch):
    """(name of the data set, folder with small files of it)."""
    classes = request.param
    datasets = import_torchvision_datasets()
    dataset_class = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[classes]
    folder = tmp_path / dataset_class.base_folder
    folder.mkdir()
    for table in ("train_list", "test_list"):
        rows = [
            [name, write(folder / name, batch(classes, seed=len(table) + number))]
            for number, (name, _) in enumerate(getattr(dataset_class, table))
        ]
        monkeypatch.setattr(dataset_class, table, rows)
    meta = dataset_class.meta
    names = [f"class {number}" for number in range(classes)]
    monkeypatch.setattr(dataset_class, "meta", {**meta, "md5": write(folder / meta["filename"], {meta["key"]: names})})
    monkeypatch.setattr(cifar, "N_VAL", N_VAL)
    return f"cifar{classes}", folder


def test_reads_images_and_labels(small):
    name, folder = small
    n_files = 5 if name == "cifar10" else 1
    data = DATASETS[name](data_dir=folder.parent, download=False)
    assert [len(part) for part in (data.train, data.val, data.test)] == [n_files * PER_FILE - N_VAL, N_VAL, PER_FILE]
    assert data.image_shape == (3, 32, 32)
    assert data.num_classes == int(name.removeprefix("cifar"))
    for part in (data.train, data.val, data.test):
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels)
    given = pickle.loads((folder / ("test_batch" if name == "cifar10" else "test")).read_bytes())  # noqa: S301 - ours
    assert np.array_equal(data.test.images.numpy(), given["data"].reshape(-1, 3, 32, 32))


def test_the_files_may_lie_in_the_folder_itself(small):
    name, folder = small
    beside = DATASETS[name](data_dir=folder.parent, download=False)
    inside = DATASETS[name](data_dir=folder.rename(folder.with_name("by hand")), download=False)
    assert torch.equal(inside.test.images, beside.test.images)
    assert torch.equal(inside.train.labels, beside.train.labels)


def test_a_damaged_file_is_named_and_never_unpickled(small):
    name, folder = small
    path = folder / ("data_batch_3" if name == "cifar10" else "train")
    path.write_bytes(b"cos\nsystem\n(S'touch " + bytes(folder / "pwned") + b"'\ntR.")
    with pytest.raises(DataUnavailable, match="MD5") as error:
        DATASETS[name](data_dir=folder.parent, download=False)
    assert str(path) in str(error.value)
    assert not (folder / "pwned").exists()


def test_a_file_of_another_size_is_not_even_read(small):
    name, folder = small
    path = folder / ("data_batch_3" if name == "cifar10" else "train")
    with path.open("r+b") as file:
        file.truncate(10**12)  # which takes no disk; its MD5 sum would take hours
    with pytest.raises(DataUnavailable, match="has 1,000,000,000,000 bytes, more than any file of CIFAR") as error:
        DATASETS[name](data_dir=folder.parent, download=False)
    assert str(path) in str(error.value)


def test_damaged_class_names_are_named(small):
    name, folder = small
    path = folder / ("batches.meta" if name == "cifar10" else "meta")
    path.write_bytes(b"")
    with pytest.raises(DataUnavailable, match="MD5") as error:
        DATASETS[name](data_dir=folder.parent, download=False)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_45000_images_train_5000_validate_and_10000_test(name, tmp_path, monkeypatch):
    def as_many_as_published(_dataset_class, _root, *, train):
        n = 50_000 if train else 10_000
        return Split(torch.zeros(n, 3, 1, 1, dtype=torch.uint8), torch.arange(n))

    monkeypatch.setattr(cifar, "find_or_download", lambda *_, **__: tmp_path)
    monkeypatch.setattr(cifar, "_read", as_many_as_published)
    data = DATASETS[name]()
    assert [len(part) for part in (data.train, data.val, data.test)] == [DATASETS[name].n_train, 5_000, 10_000]
    assert sorted(torch.cat([data.train.labels, data.val.labels]).tolist()) == list(range(50_000))
