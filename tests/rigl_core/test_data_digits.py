import numpy as np
import torch
from sklearn.datasets import load_digits

from rigl_core.data.digits import load


def test_all_digits_are_there_once_scaled_to_bytes():
    data = load()
    assert [len(part) for part in (data.train, data.val, data.test)] == [1297, 250, 250]
    assert data.image_shape == (1, 8, 8)
    images = torch.cat([part.images for part in (data.train, data.val, data.test)])
    labels = torch.cat([part.labels for part in (data.train, data.val, data.test)])
    assert (int(images.min()), int(images.max())) == (0, 255)
    given = load_digits()
    pixels = np.round(images.numpy().reshape(-1, 64) / 255 * 16).astype(int)
    got = sorted((*row, label) for row, label in zip(pixels.tolist(), labels.tolist(), strict=True))
    assert got == sorted(
        (*row, label) for row, label in zip(given.data.astype(int).tolist(), given.target.tolist(), strict=True)
    )


def test_is_the_same_every_time():
    torch.manual_seed(1)
    first = load()
    torch.manual_seed(2)
    second = load()
    assert torch.equal(first.val.images, second.val.images)
    assert torch.equal(first.train.labels, second.train.labels)
