"""The size that is told of a network before it is made is that of the network."""

import pytest
import torch
from torch import nn

from rigl_core.models import MODELS, get_model
from rigl_core.native.sparse_convolution import Conv2d

SHAPES = [(3, 32, 32), (1, 28, 28), (2, 9, 13)]
OPTIONS = {
    "wrn": [{"depth": 10.0}, {"depth": 22.0, "width": 2.0}, {"depth": 16.0, "width": 0.3}],
    "resnet50": [{}, {"width": 0.13}],
    "char_gru": [{}, {"width": 0.3}],
}
CASES = [(name, options) for name in MODELS for options in OPTIONS.get(name, [{}])]


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("multiplier", [1.0, 0.31])
def test_parameters_are_counted_exactly(name: str, options: dict[str, float], multiplier: float) -> None:
    row = get_model(name)
    assert row.size is not None
    for shape in SHAPES if row.reads == "images" else [(64,)]:
        arguments = {"in_channels": shape[0], "image_size": shape[1:]} if row.reads == "images" else {}
        with torch.device("meta"):
            model = row(num_classes=7, width_multiplier=multiplier, **arguments, **options)
        told = row.size(shape, 7, {**row.options, **options}, multiplier)
        assert told.n_parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "options"), CASES)
def test_outputs_are_at_most_those_of_its_layers(name: str, options: dict[str, float]) -> None:
    row = get_model(name)
    shape = (3, 32, 32) if row.reads == "images" else (64,)
    arguments = {"in_channels": 3, "image_size": (32, 32)} if row.reads == "images" else {}
    with torch.device("meta"):
        model = row(num_classes=7, **arguments, **options).eval()
        item = torch.zeros((1, *shape), dtype=torch.float32 if row.reads == "images" else torch.int64)
    outputs: list[int] = []
    for layer in model.modules():
        if isinstance(layer, Conv2d | nn.Linear):
            layer.register_forward_hook(lambda _layer, _given, output: outputs.append(output.numel()))
    model(item)
    assert row.size is not None
    told = row.size(shape, 7, {**row.options, **options}, 1.0).n_outputs
    assert 0.8 * sum(outputs) <= told <= sum(outputs), "all of them, but for shortcuts"
