import pytest
import torch

from rigl_core.data import DATASETS
from rigl_core.errors import BadInput

SMALL = {"channels": 2.0, "height": 5.0, "width": 7.0, "num_classes": 3.0, "n_train": 200.0, "n_eval": 50.0}


def test_shape_number_and_classes_are_as_asked():
    data = DATASETS["synthetic"](**SMALL)
    assert data.image_shape == (2, 5, 7)
    assert data.num_classes == 3
    assert [len(part) for part in (data.train, data.val, data.test)] == [200, 50, 50]
    assert sorted(data.train.labels.bincount().tolist()) == [66, 67, 67]


def test_is_the_same_every_time_and_its_parts_differ():
    state = torch.get_rng_state()
    first, second = (DATASETS["synthetic"](**SMALL) for _ in range(2))
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.test.labels, second.test.labels)
    assert not torch.equal(first.val.images, first.test.images)
    assert torch.equal(torch.get_rng_state(), state)


def test_can_be_learnt_but_not_from_one_pixel():
    data = DATASETS["synthetic"](**SMALL)
    train, test = data.normalise(data.train.images).flatten(1), data.normalise(data.test.images).flatten(1)
    centres = torch.stack([train[data.train.labels == label].mean(0) for label in range(3)])
    by_image = torch.cdist(test, centres).argmin(1)
    by_pixel = (test[:, :1] - centres[:, 0]).abs().argmin(1)
    assert (by_image == data.test.labels).float().mean() > 0.95
    assert (by_pixel == data.test.labels).float().mean() < 0.8


@pytest.mark.parametrize("option", list(SMALL))
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_numbers_that_count_nothing_are_refused(option, value):
    with pytest.raises(BadInput, match=f"{option} is {value}"):
        DATASETS["synthetic"](**{**SMALL, option: value})
