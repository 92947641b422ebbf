import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rigl_core.config import TrainConfig
from rigl_core.data.augment import AUGMENTATIONS, _stretch, crop_flip, resized_crop_flip
from rigl_core.errors import BadInput


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def windows(image, padding):
    """All crops of the reflect-padded image (C, H, W), each as it is and flipped, by the book."""
    _, height, width = image.shape
    padded = F.pad(image[None], (padding,) * 4, mode="reflect")[0]
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            window = padded[:, top : top + height, left : left + width]
            yield window
            yield window.flip(2)


@settings(max_examples=30)
@given(
    n=st.integers(1, 4), channels=st.integers(1, 3), height=st.integers(4, 8), width=st.integers(4, 8),
    padding=st.integers(0, 3), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_each_image_becomes_one_crop_of_its_reflect_padded_self(n, channels, height, width, padding, seed):
    images = torch.randn(n, channels, height, width, generator=generator(seed))
    untouched = images.clone()
    result = crop_flip(images, generator(seed), padding=padding)
    assert result.shape == images.shape
    for image, changed in zip(images, result, strict=True):
        assert any(torch.equal(changed, window) for window in windows(image, padding))
    assert torch.equal(images, untouched)


def test_every_crop_and_both_flips_come_about_equally_often_and_independently():
    image = torch.randn(1, 4, 4, generator=generator(7))
    result = crop_flip(image.expand(900, -1, -1, -1), generator(1), padding=1)
    counts = [sum(torch.equal(window, changed) for changed in result) for window in windows(image, 1)]
    assert sum(counts) == 900
    assert min(counts) > 20  # 50 expected of each of the 18
    assert max(counts) < 90


def test_the_same_generator_state_gives_the_same_images():
    images = torch.randn(6, 3, 32, 32)
    assert torch.equal(crop_flip(images, generator(2)), crop_flip(images, generator(2)))
    assert not torch.equal(crop_flip(images, generator(2)), crop_flip(images, generator(3)))


def test_draws_nothing_from_the_global_generator():
    state = torch.get_rng_state()
    crop_flip(torch.zeros(3, 1, 8, 8), generator())
    assert torch.equal(torch.get_rng_state(), state)


def test_keeps_the_type_of_the_pixels():
    assert crop_flip(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), generator()).dtype == torch.uint8


@pytest.mark.parametrize(("size", "padding"), [((4, 9), 4), ((9, 4), 4), ((8, 8), -1)])
def test_padding_that_cannot_be_reflected_is_refused(size, padding):
    with pytest.raises(BadInput, match=f"padding is {padding}"):
        crop_flip(torch.zeros(1, 1, *size), generator(), padding=padding)


def test_none_changes_nothing_and_draws_nothing():
    images, own = torch.randn(2, 1, 4, 4), generator()
    state = own.get_state()
    assert AUGMENTATIONS["none"](images, own) is images
    assert torch.equal(own.get_state(), state)


def test_the_names_are_those_a_configuration_takes():
    for name in AUGMENTATIONS:
        assert TrainConfig(augmentation=name).augmentation == name


def test_a_stretched_box_equals_interpolation_of_the_cut():
    images = torch.rand(6, 3, 9, 12)
    start, length = torch.tensor([0.0, 3, 5, 8, 2, 11]), torch.tensor([12.0, 4, 7, 1, 9, 1])
    stretched = _stretch(images, start, length, dim=3)
    for i in range(6):
        cut = images[i : i + 1, :, :, int(start[i]) : int(start[i] + length[i])]
        expected = F.interpolate(cut, size=(9, 12), mode="bilinear", align_corners=False)
        torch.testing.assert_close(stretched[i], expected[0])


def test_resized_crops_stay_in_range_and_vary_with_the_generator_alone():
    images = torch.rand(64, 3, 32, 32)
    one = resized_crop_flip(images, torch.Generator().manual_seed(1))
    again = resized_crop_flip(images, torch.Generator().manual_seed(1))
    other = resized_crop_flip(images, torch.Generator().manual_seed(2))
    assert one.shape == images.shape
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1


def test_a_resized_crop_of_the_whole_image_is_the_image_or_its_mirror():
    images = torch.rand(40, 1, 8, 8)
    out = resized_crop_flip(images, torch.Generator().manual_seed(0), scale=(1.0, 1.0), ratio=(1.0, 1.0))
    same = torch.tensor([torch.equal(a, b) for a, b in zip(out, images, strict=True)])
    mirrored = torch.tensor([torch.equal(a, b) for a, b in zip(out, images.flip(3), strict=True)])
    assert (same ^ mirrored).all()
    assert 8 <= int(mirrored.sum()) <= 32


def boxes(height, width, n=1500, **options):
    """Top, height, left, width and mirroring of the boxes drawn from images whose pixels are their own coordinates."""
    rows = torch.arange(float(height))[:, None].expand(height, width)
    columns = torch.arange(float(width)).expand(height, width)
    out = resized_crop_flip(torch.stack([rows, columns]).expand(n, 2, height, width), generator(6), **options)
    (top, left), (bottom, right) = out.amin((2, 3)).T, out.amax((2, 3)).T
    return top, bottom - top + 1, left, right - left + 1, out[:, 1, 0, 0] > out[:, 1, 0, -1]


def is_uniform(values, low, high, pixels=0.0):
    """Whether values seem drawn uniformly: their range (but for rounding to pixels), mean, and deviation."""
    span = high - low
    assert low - pixels <= values.min() <= low + 0.02 * span + pixels
    assert high - 0.02 * span - pixels <= values.max() <= high + pixels
    assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.025 * span)  # 3.3 standard errors of 1,500
    return float(values.std()) == pytest.approx(span / math.sqrt(12), rel=0.05)


def test_area_shape_place_and_mirroring_of_a_resized_crop_are_drawn_as_documented():
    top, high, left, wide, mirrored = boxes(64, 96, scale=(0.1, 0.4), ratio=(1.2, 2.0))
    assert is_uniform(high * wide / (64 * 96), 0.1, 0.4, pixels=0.01)
    assert is_uniform((wide / high).log(), math.log(1.2), math.log(2.0), pixels=0.05)
    assert is_uniform((top + 0.5) / (64 - high + 1), 0.0, 1.0)
    assert is_uniform((left + 0.5) / (96 - wide + 1), 0.0, 1.0)
    assert float(mirrored.float().mean()) == pytest.approx(0.5, abs=0.04)
    drawn = torch.stack([top / (64 - high), left / (96 - wide), high * wide, wide / high, mirrored.float()])
    assert (drawn.corrcoef() - torch.eye(5)).abs().max() < 0.08


def test_a_resized_crop_is_of_8_to_100_percent_and_three_to_four_either_way_and_cut_where_it_is_too_long():
    top, high, left, wide, _ = boxes(64, 64)
    share = high * wide / 64**2
    assert 0.075 < share.min() < 0.085
    assert is_uniform(share[share < 0.7], 0.08, 0.7, pixels=0.01)  # those that are never cut
    whole = high.maximum(wide) < 64
    assert 0.7 < (wide / high)[whole].min() < 0.78
    assert 1.28 < (wide / high)[whole].max() < 1.42
    for start, length in ((top, high), (left, wide)):
        assert start.min() == 0
        assert (start + length).max() == length.max() == 64
    _, high, _, wide, _ = boxes(2, 50, n=300)  # of 8 to 100 pixels, which are three to eleven wide, but for their cut
    assert (high == 2).all()
    assert wide.max() <= 12
