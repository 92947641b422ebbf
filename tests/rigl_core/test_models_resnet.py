"""ResNet-50: published parameter counts, and the published FLOP multiples it gives under ERK."""

import pytest
import torch

from rigl_core.distributions import DISTRIBUTIONS
from rigl_core.errors import BadInput
from rigl_core.flops import forward_flops, inference_flops
from rigl_core.masks import maskable_weights
from rigl_core.models.resnet import resnet50


def test_parameter_counts_for_cifar100() -> None:
    model = resnet50(num_classes=100)
    weights = maskable_weights(model)
    assert sum(parameter.numel() for parameter in model.parameters()) == 23_705_252
    assert (len(weights), sum(weight.numel() for weight in weights.values())) == (54, 23_652_032)


def test_parameter_count_for_imagenet() -> None:
    model = resnet50(num_classes=1000, stem="imagenet", image_size=(224, 224))
    assert sum(parameter.numel() for parameter in model.parameters()) == 25_557_032  # torchvision's resnet50


@pytest.mark.parametrize(
    ("stem", "classes", "size", "sparsity", "published", "ours"),
    [
        ("cifar", 100, 32, 0.9, "0.22", 0.2247),  # the report, table 3
        ("cifar", 100, 32, 0.8, "0.38", 0.3851),  # the same; cut off after two digits: rounded, ours would be 0.39
        ("imagenet", 1000, 224, 0.9, "0.24", 0.2418),  # Evci et al. 2020, figure 2
        ("imagenet", 1000, 224, 0.8, "0.41", 0.4138),
    ],
)
def test_published_flop_multiples_of_erk(
    stem: str, classes: int, size: int, sparsity: float, published: str, ours: float
) -> None:
    with torch.device("meta"):
        model = resnet50(num_classes=classes, stem=stem, image_size=(size, size))
    flops = forward_flops(model, (3, size, size))
    shapes = {name: tuple(weight.shape) for name, weight in maskable_weights(model).items()}
    multiple = inference_flops(flops, DISTRIBUTIONS["erk"](shapes, sparsity)) / sum(flops.values())
    assert multiple == pytest.approx(ours, abs=1e-4)
    is_cut_off = (stem, sparsity) == ("cifar", 0.8)
    assert f"{multiple:.2f}" == ("0.39" if is_cut_off else published)
    assert f"{multiple:.6f}"[:4] == published


def test_shapes_and_widths() -> None:
    model = resnet50(num_classes=7, width=0.1, in_channels=1).eval()
    assert model(torch.zeros(2, 1, 16, 9)).shape == (2, 7)
    assert model.conv1.out_channels == 6
    half = resnet50(width=0.5, width_multiplier=0.5)
    assert half.conv1.out_channels == 16


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="needs at least 8×8"):
        resnet50(image_size=(4, 8))
    with pytest.raises(BadInput, match="width is 0"):
        resnet50(width=0.0)
