import copy
import math

import pytest
import torch
from torch import nn

from rigl_core.distributions import erk, layer_budgets
from rigl_core.errors import BadInput
from rigl_core.masks import maskable_weights
from rigl_core.models import MODELS
from rigl_core.models.wide_resnet import wide_resnet


def shapes_of(model):
    return {name: tuple(weight.shape) for name, weight in maskable_weights(model).items()}


def test_wrn_22_2_has_the_published_number_of_parameters():
    model = MODELS["wrn_22_2"](num_classes=10, in_channels=3, image_size=(32, 32))
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_079_642
    shapes = shapes_of(model)
    assert len(shapes) == 23
    assert sum(math.prod(shape) for shape in shapes.values()) == 1_076_912


@pytest.mark.parametrize("name", ["wrn_22_2", "wrn_10_1", "wrn"])
@pytest.mark.parametrize(("channels", "image_size", "classes"), [(3, (32, 32), 10), (1, (28, 28), 100), (3, (4, 7), 2)])
def test_every_row_takes_images_of_any_shape(name, channels, image_size, classes):
    model = MODELS[name](num_classes=classes, in_channels=channels, image_size=image_size)
    assert model(torch.zeros(2, channels, *image_size)).shape == (2, classes)


def test_depth_counts_the_convolutions():
    for depth in (10, 16, 22, 28):
        model = wide_resnet(depth=depth, width=2, dropout=0)
        assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == depth


def test_a_block_computes_what_the_paper_draws():
    model = wide_resnet(depth=10, width=2, dropout=0.0).eval()
    block = model.group2[0]
    x = torch.randn(2, 32, 8, 8)
    activated = torch.relu(block.bn1(x))
    residual = block.conv2(torch.relu(block.bn2(block.conv1(activated))))
    torch.testing.assert_close(block(x), residual + block.shortcut(activated))
    same = wide_resnet(depth=16, width=2, dropout=0.0).eval().group2[1]
    x = torch.randn(2, 64, 4, 4)
    assert same.shortcut is None
    torch.testing.assert_close(same(x), x + same.conv2(torch.relu(same.bn2(same.conv1(torch.relu(same.bn1(x)))))))


def test_a_shortcut_is_convolved_only_where_the_shape_changes():
    model = wide_resnet(depth=16, width=2, dropout=0)
    blocks = {n: m.shortcut for n, m in model.named_modules() if hasattr(m, "shortcut")}
    assert {name for name, shortcut in blocks.items() if shortcut is not None} == {"group1.0", "group2.0", "group3.0"}
    # Width 1 keeps the stem's 16 channels at stride 1; half width makes group 2's channels equal to the stem's.
    assert wide_resnet(depth=10, width=1, dropout=0).group1[0].shortcut is None
    assert wide_resnet(depth=10, width=0.25, dropout=0, image_size=(8, 8))(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def test_a_width_that_is_not_whole_rounds_the_channels():
    assert shapes_of(wide_resnet(depth=10, width=0.6325, dropout=0))["group3.0.conv2.weight"] == (40, 40, 3, 3)
    tiny = shapes_of(wide_resnet(depth=10, width=0.001, dropout=0))
    assert [tiny[f"group{n}.0.conv2.weight"] for n in (1, 2, 3)] == [(1, 1, 3, 3)] * 3


def test_convolutions_start_with_he_initialisation_by_fan_out():
    model = wide_resnet(depth=10, width=4, dropout=0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            fan_out = module.out_channels * math.prod(module.kernel_size)
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
    assert torch.all(model.fc.bias == 0)


def test_numbers_from_a_study_file_may_be_floats():
    assert shapes_of(MODELS["wrn"](depth=16.0, width=2.0, dropout=0.0)) == shapes_of(
        wide_resnet(depth=16, width=2, dropout=0)
    )


@pytest.mark.parametrize("depth", [4, 9, 11, 12, 22.5, -2, math.inf, math.nan])
def test_a_depth_that_is_not_6n_plus_4_is_refused(depth):
    with pytest.raises(BadInput, match=r"depth is .*6n \+ 4"):
        wide_resnet(depth=depth, width=1, dropout=0)


@pytest.mark.parametrize("width", [0, -1, math.inf, math.nan])
def test_a_width_that_is_not_positive_is_refused(width):
    with pytest.raises(BadInput, match="width is"):
        wide_resnet(depth=10, width=width, dropout=0)


def test_images_that_would_vanish_are_refused():
    with pytest.raises(BadInput, match="3×32"):
        wide_resnet(depth=10, width=1, dropout=0, image_size=(3, 32))


def test_erk_at_90_percent_keeps_the_small_layers_dense():
    shapes = shapes_of(MODELS["wrn_22_2"]())
    density = {name: 1 - sparsity for name, sparsity in erk(shapes, 0.9).items()}
    assert {name for name, value in density.items() if value == 1.0} == {
        "conv1.weight", "group1.0.shortcut.weight", "group2.0.shortcut.weight", "fc.weight"
    }  # fmt: skip
    assert density["group1.0.conv1.weight"] == pytest.approx(0.421, abs=5e-4)
    assert density["group3.2.conv2.weight"] == pytest.approx(0.064, abs=5e-4)
    assert sum(layer_budgets(shapes, erk(shapes, 0.9)).values()) == pytest.approx(107_691, abs=len(shapes))


def test_can_be_copied_and_moved_to_the_meta_device():
    model = MODELS["wrn_10_1"](dropout=0.3)
    twin = copy.deepcopy(model)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))
    meta = twin.to("meta")
    assert meta(torch.zeros(2, 3, 32, 32, device="meta")).shape == (2, 10)
