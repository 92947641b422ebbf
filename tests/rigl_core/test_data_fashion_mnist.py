import gzip
import struct
import tracemalloc

import numpy as np
import pytest
import torch

from rigl_core.data import fashion_mnist, find
from rigl_core.data.images import channel_statistics
from rigl_core.errors import DataUnavailable

N_TRAIN, N_TEST, N_VAL = 30, 12, 5


def idx(array):
    return struct.pack(f">I{array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with 30 + 12 images in Fashion-MNIST's own format, and a loader that expects so many."""
    monkeypatch.setattr(fashion_mnist, "N_TRAIN_FILE", N_TRAIN)
    monkeypatch.setattr(fashion_mnist, "N_TEST_FILE", N_TEST)
    monkeypatch.setattr(fashion_mnist, "N_VAL", N_VAL)
    random = np.random.RandomState(0)
    for part, n in (("train", N_TRAIN), ("t10k", N_TEST)):
        labels = np.arange(n) % 10
        images = random.randint(0, 256, (n, 28, 28))
        images[:, 0, 0] = labels  # so that a test sees whether an image kept its label
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def load(folder):
    return fashion_mnist.load(data_dir=folder, download=False)


def rewrite(path, change):
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize("gzipped", [False, True])
def test_reads_plain_and_gzipped_files(small, gzipped):
    if gzipped:
        for path in list(small.iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    data = load(small)
    assert [len(part) for part in (data.train, data.val, data.test)] == [N_TRAIN - N_VAL, N_VAL, N_TEST]
    assert data.image_shape == (1, 28, 28)
    for part in (data.train, data.val, data.test):
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels)
    assert data.test.labels.tolist() == [n % 10 for n in range(N_TEST)]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda content: content[:-1], "its header says"),
        (lambda content: content + b"x", "its header says"),
        (lambda content: content[:9], "cut short"),
        (lambda content: b"", "cut short"),
        (lambda content: b"\x00\x00\x0d\x03" + content[4:], "magic number is 0x00000d03, not 0x00000803"),
        (lambda content: b"<html>404 not found</html>", "magic number"),
        (lambda content: idx(np.zeros((N_TRAIN - 1, 28, 28))), r"images of shape \(29, 28, 28\)"),
        (lambda content: idx(np.zeros((N_TRAIN, 27, 28))), r"images of shape \(30, 27, 28\)"),
    ],
)
def test_damaged_images_are_named(small, change, complaint):
    path = rewrite(small / "train-images-idx3-ubyte", change)
    with pytest.raises(DataUnavailable, match=complaint) as error:
        load(small)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [(lambda content: content[:20], "cannot be read"), (lambda content: b"no gzip at all", "cannot be read"),
     (lambda content: content[:50] + bytes(20) + content[70:], "cannot be read")],
)  # fmt: skip
def test_damaged_gzip_files_are_named(small, change, complaint):
    plain = small / "t10k-images-idx3-ubyte"
    path = plain.with_name("t10k-images-idx3-ubyte.gz")
    path.write_bytes(change(gzip.compress(plain.read_bytes())))
    plain.unlink()
    with pytest.raises(DataUnavailable, match=complaint) as error:
        load(small)
    assert str(path) in str(error.value)


def test_no_more_is_unpacked_than_the_images_take(small):
    """A gigabyte in a megabyte: after the right header, zeros in a thousand gzip members."""
    plain = small / "train-images-idx3-ubyte"
    path = plain.with_name("train-images-idx3-ubyte.gz")
    path.write_bytes(gzip.compress(plain.read_bytes()) + 1000 * gzip.compress(bytes(10**6)))
    plain.unlink()
    tracemalloc.start()
    with pytest.raises(DataUnavailable, match="holds more bytes of data; its header says 23,520"):
        load(small)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10**7


def test_no_more_is_read_than_the_images_take(small):
    path = small / "train-images-idx3-ubyte"
    with path.open("r+b") as file:
        file.truncate(10**12)  # which takes no disk
    with pytest.raises(DataUnavailable, match="holds more bytes of data; its header says 23,520"):
        load(small)


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [(np.arange(N_TEST).clip(max=10), "the label 10"), (np.zeros(N_TEST - 1), "holds 11 labels, not 12")],
)
def test_labels_that_do_not_fit_are_named(small, labels, complaint):
    (small / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    with pytest.raises(DataUnavailable, match=rf"t10k-labels-idx1-ubyte.*{complaint}"):
        load(small)


def test_is_unavailable_where_it_is_not_and_may_not_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.delenv(find.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(find, "FILES", {"fashion_mnist": find.Files(names=("nowhere",), folders=(".",))})
    with pytest.raises(DataUnavailable, match="not on this machine"):
        load(tmp_path)


@pytest.mark.skipif(find.status("fashion_mnist") is None, reason="Fashion-MNIST is not on this machine")
def test_the_real_one():
    data = fashion_mnist.load(download=False)
    assert [len(part) for part in (data.train, data.val, data.test)] == [55_000, 5_000, 10_000]
    assert data.test.labels.bincount().tolist() == [1_000] * 10
    assert (data.train.labels.bincount() + data.val.labels.bincount()).tolist() == [6_000] * 10
    mean, std = channel_statistics(torch.cat([data.train.images, data.val.images]))
    assert data.mean == pytest.approx(mean, abs=5e-5)
    assert data.std == pytest.approx(std, abs=5e-5)
