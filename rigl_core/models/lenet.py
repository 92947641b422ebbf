"""LeNet-300-100: the perceptron with two hidden layers that pruning papers start from."""

from collections import OrderedDict

from torch import nn


def lenet_300_100(
    *,
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: tuple[int, int] = (28, 28),
    width_multiplier: float = 1.0,
) -> nn.Sequential:
    """The fully connected LeNet of 300 and 100 hidden units with ReLU (LeCun et al. 1998; Han et al. 2015).

    Takes images (N, C, H, W), flattens them, and gives logits (N, num_classes). For 28×28 grey images its layers are
    784-300-100-10. Weights and biases have PyTorch's default initialisation.

    Args:
        num_classes: number of logits.
        in_channels: C.
        image_size: (H, W).
        width_multiplier: scales both hidden layers, rounded, at least 1 unit each.
    """
    height, width = image_size
    hidden1, hidden2 = (max(1, round(width_multiplier * units)) for units in (300, 100))
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(in_channels * height * width, hidden1),
            relu1=nn.ReLU(),
            fc2=nn.Linear(hidden1, hidden2),
            relu2=nn.ReLU(),
            fc3=nn.Linear(hidden2, num_classes),
        )
    )
