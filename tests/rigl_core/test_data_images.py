from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rigl_core.data import DATASETS, get_dataset
from rigl_core.data.images import ImageData, Split, channel_statistics, seeded_split
from rigl_core.errors import BadInput, UnknownName


def numbered(n, shape=(1, 2, 2)):
    """Images that can be told apart by their label."""
    labels = torch.arange(n)
    return (labels % 256).to(torch.uint8).view(-1, 1, 1, 1).expand(n, *shape).contiguous(), labels


def data(n=10, mean=(0.5, 0.25), std=(0.5, 0.125)):
    split = Split(*numbered(n, (2, 3, 4)))
    return ImageData("made up", split, split, split, num_classes=n, mean=mean, std=std)


def test_a_split_checks_its_types_and_shapes():
    images, labels = numbered(3)
    with pytest.raises(ValueError, match=r"images are torch\.float32"):
        Split(images.float(), labels)
    with pytest.raises(ValueError, match=r"images are torch\.uint8 \(3, 2, 2\)"):
        Split(images[:, 0], labels)
    with pytest.raises(ValueError, match=r"labels are torch\.int32"):
        Split(images, labels.int())
    with pytest.raises(ValueError, match=r"expected int64 \(3,\)"):
        Split(images, labels[:2])


@given(st.integers(2, 300), st.data())
def test_a_split_holds_out_each_image_once_and_keeps_its_label(n, draw):
    n_val = draw.draw(st.integers(1, n - 1))
    rest, held_out = seeded_split(*numbered(n), n_val)
    assert (len(rest), len(held_out)) == (n - n_val, n_val)
    assert sorted([*rest.labels.tolist(), *held_out.labels.tolist()]) == list(range(n))
    for part in (rest, held_out):
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels % 256)


def test_the_split_never_changes_whatever_the_seeds_of_the_run():
    torch.manual_seed(1)
    first = seeded_split(*numbered(12), 4)[1].labels.tolist()
    torch.manual_seed(2)
    assert seeded_split(*numbered(12), 4)[1].labels.tolist() == first == [6, 11, 4, 10]  # RandomState(0).permutation


@pytest.mark.parametrize("n_val", [0, 5, -1])
def test_a_split_that_leaves_nothing_is_refused(n_val):
    with pytest.raises(BadInput, match=f"cannot hold out {n_val} of 5"):
        seeded_split(*numbered(5), n_val)


def test_normalise_by_hand():
    batch = torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1)
    result = data().normalise(batch)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.flatten(), torch.tensor([(0 - 0.5) / 0.5, (1 - 0.25) / 0.125]))
    assert batch.flatten().tolist() == [0, 255]


def test_normalised_training_images_have_mean_zero_and_deviation_one():
    images = torch.randint(0, 200, (50, 2, 3, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = channel_statistics(images)
    normalised = data(mean=mean, std=std).normalise(images).transpose(0, 1).flatten(1)
    torch.testing.assert_close(normalised.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std(1, correction=0), torch.ones(2))


def test_a_constant_channel_has_a_deviation_to_divide_by():
    assert channel_statistics(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8)) == ((pytest.approx(0.2),), (1.0,))


@pytest.mark.parametrize(("part", "first"), [("val", 20), ("test", 50)])
def test_a_held_out_part_is_given_whole_and_once_and_is_not_the_other(part, first, monkeypatch):
    monkeypatch.setattr("rigl_core.data.images.EVAL_BATCH", 4)
    numbers = Split(*numbered(60, (2, 3, 4)))
    whole = replace(data(60), train=numbers[:20], val=numbers[20:50], test=numbers[50:])
    batches = list(whole.held_out(part))
    n = {"val": 30, "test": 10}[part]
    assert [len(labels) for _, labels in batches] == [4] * (n // 4) + [2]
    images, labels = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
    assert labels.tolist() == list(range(first, first + n))
    torch.testing.assert_close(images, whole.normalise(numbers.images[labels]))


def test_a_batch_is_normalised_and_in_the_order_asked_for():
    whole = data()
    images, labels = whole.batch(torch.tensor([3, 0, 3]))
    assert labels.tolist() == [3, 0, 3]
    torch.testing.assert_close(images, whole.normalise(whole.train.images[[3, 0, 3]]))


def test_what_a_model_is_told_of_images():
    assert data(7).model_arguments() == {"num_classes": 7, "in_channels": 2, "image_size": (3, 4)}


def test_first_keeps_the_first_training_images_only():
    whole = data(10)
    part = whole.first(4)
    assert part.train.labels.tolist() == [0, 1, 2, 3]
    assert len(part.val) == len(part.test) == 10
    assert whole.first(10).train.labels.tolist() == whole.train.labels.tolist()
    for n in (0, 11):
        with pytest.raises(BadInput, match=f"train_size is {n}"):
            whole.first(n)


def test_image_shape_and_moving_between_devices():
    here = data()
    assert here.to("cpu") is here
    moved = here.to("meta")
    assert data().image_shape == moved.image_shape == (2, 3, 4)
    assert {part.images.device.type for part in (moved.train, moved.val, moved.test)} == {"meta"}
    assert moved.normalise(moved.train.images).device.type == "meta"


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_what_is_built_in_is_what_its_row_declares(name):
    loaded = DATASETS[name](download=False)
    assert loaded.name == name
    assert loaded.image_shape == DATASETS[name].image_shape
    assert loaded.num_classes == DATASETS[name].num_classes
    assert DATASETS[name].n_train in (None, loaded.n_train)
    for part in (loaded.train, loaded.val, loaded.test):
        assert int(part.labels.min()) == 0
        assert int(part.labels.max()) == loaded.num_classes - 1


def test_an_unknown_name_is_refused():
    with pytest.raises(UnknownName, match='Did you mean "digits"'):
        get_dataset("digit")
