"""Wide residual networks for small images (Zagoruyko & Komodakis 2016, "Wide Residual Networks")."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from rigl_core.errors import BadInput
from rigl_core.models.dropout import Dropout
from rigl_core.native.sparse_convolution import Conv2d

STEM_CHANNELS = 16
GROUP_CHANNELS = (16, 32, 64)
"Channels of the three groups at width 1."
GROUP_STRIDES = (1, 2, 2)


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv3x3-BN-ReLU-dropout-conv3x3, added to its input (He et al. 2016b; the paper's B(3,3)).

    (N, in_channels, H, W) to (N, out_channels, ⌈H/stride⌉, ⌈W/stride⌉). Where the shape changes, the shortcut is a 1x1
    convolution of the *activated* input, as in the authors' code; elsewhere it is the input itself.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.dropout = Dropout(dropout)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut: Conv2d | None = None
        if in_channels != out_channels or stride != 1:
            self.shortcut = Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        activated = F.relu(self.bn1(x))
        residual: Tensor = self.conv1(activated)
        residual = self.conv2(self.dropout(F.relu(self.bn2(residual))))
        shortcut: Tensor = x if self.shortcut is None else self.shortcut(activated)
        return residual + shortcut


class WideResNet(nn.Module):
    """A stem convolution, three groups of pre-activation blocks, global average pooling, a linear classifier.

    Images (N, in_channels, H, W) to logits (N, num_classes).

    Args:
        blocks_per_group: n in depth = 6n + 4.
        stem_channels: channels after the first convolution.
        group_channels: channels of the three groups.
        dropout: probability of dropping an element between the two convolutions of a block.
        num_classes: number of logits.
        in_channels: channels of an image.
    """

    def __init__(
        self,
        *,
        blocks_per_group: int,
        stem_channels: int,
        group_channels: tuple[int, int, int],
        dropout: float,
        num_classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()

        def group(n_in: int, n_out: int, stride: int) -> nn.Sequential:
            blocks = [PreActivationBlock(n_in, n_out, stride=stride, dropout=dropout)]
            blocks += [PreActivationBlock(n_out, n_out, stride=1, dropout=dropout) for _ in range(blocks_per_group - 1)]
            return nn.Sequential(*blocks)

        first, second, third = group_channels
        self.conv1 = Conv2d(in_channels, stem_channels, 3, padding=1, bias=False)
        self.group1 = group(stem_channels, first, GROUP_STRIDES[0])
        self.group2 = group(first, second, GROUP_STRIDES[1])
        self.group3 = group(second, third, GROUP_STRIDES[2])
        self.bn = nn.BatchNorm2d(third)
        self.fc = nn.Linear(third, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        """He et al.'s normal initialisation by fan-out, as in the authors' code; PyTorch's default for `fc.weight`."""
        for module in self.modules():
            if isinstance(module, Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of a batch of images."""
        x = self.group3(self.group2(self.group1(self.conv1(x))))
        x = F.relu(self.bn(x)).mean(dim=(2, 3))
        logits: Tensor = self.fc(x)
        return logits


def wide_resnet(
    *,
    depth: float,
    width: float,
    dropout: float,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: tuple[int, int] = (32, 32),
    width_multiplier: float = 1.0,
) -> WideResNet:
    """WRN-depth-width (Zagoruyko & Komodakis 2016, table 1), for images of any size from 4×4.

    Args:
        depth: number of convolutions, the three shortcuts included: 6n + 4 for a whole n ≥ 1, so 10, 16, 22, 28, ...
            Study files hold every number as a float, so 22.0 is as good as 22.
        width: the widening factor k; the groups have 16k, 32k and 64k channels. Need not be whole: channels are rounded
            to the nearest whole number, at least 1. The stem has 16 channels whatever the width.
        dropout: probability of dropping an element inside a block, in [0, 1).
        num_classes: number of logits.
        in_channels: channels of an image.
        image_size: (H, W); only checked, since the network pools globally.
        width_multiplier: scales the channels of the stem and of the groups, for a small dense network.

    Raises:
        BadInput: a depth that is not 6n + 4, a width that is not above 0, a dropout outside [0, 1), or images that
            vanish in the two stages that halve them.
    """
    if depth < 10 or depth % 6 != 4:
        raise BadInput(f"depth is {depth}; a wide ResNet's is 6n + 4 for a whole n of at least 1: 10, 16, 22, 28, ...")
    if not 0.0 < width < math.inf:
        raise BadInput(f"width is {width}; it multiplies the channels and must be above 0.")
    if min(image_size) < 4:
        raise BadInput(f"images are {image_size[0]}×{image_size[1]}; a wide ResNet halves them twice and needs 4×4.")
    first, second, third = (max(1, round(channels * width * width_multiplier)) for channels in GROUP_CHANNELS)
    return WideResNet(
        blocks_per_group=(int(depth) - 4) // 6,
        stem_channels=max(1, round(STEM_CHANNELS * width_multiplier)),
        group_channels=(first, second, third),
        dropout=dropout,
        num_classes=num_classes,
        in_channels=in_channels,
    )
