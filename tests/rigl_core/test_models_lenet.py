import pytest
import torch

from rigl_core.masks import maskable_weights
from rigl_core.models import MODELS


def test_layers_of_28x28_images_are_784_300_100_10():
    model = MODELS["lenet_300_100"](num_classes=10, in_channels=1, image_size=(28, 28))
    shapes = {name: tuple(weight.shape) for name, weight in maskable_weights(model).items()}
    assert shapes == {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}
    assert sum(parameter.numel() for parameter in model.parameters()) == 266_610


@pytest.mark.parametrize(("channels", "image_size", "classes"), [(1, (8, 8), 10), (3, (5, 9), 7)])
def test_takes_images_of_any_shape(channels, image_size, classes):
    model = MODELS["lenet_300_100"](num_classes=classes, in_channels=channels, image_size=image_size)
    assert model(torch.zeros(2, channels, *image_size)).shape == (2, classes)


def test_relu_between_layers_and_none_after_the_last():
    model = MODELS["lenet_300_100"](num_classes=4, in_channels=1, image_size=(2, 2))
    x = torch.randn(3, 1, 2, 2)
    hidden = torch.relu(x.flatten(1) @ model.fc1.weight.T + model.fc1.bias)
    hidden = torch.relu(hidden @ model.fc2.weight.T + model.fc2.bias)
    torch.testing.assert_close(model(x), hidden @ model.fc3.weight.T + model.fc3.bias)
