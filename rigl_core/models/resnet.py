"""ResNet-50 (He et al. 2016, "Deep Residual Learning for Image Recognition"), with a stem for small images."""

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from rigl_core.errors import BadInput
from rigl_core.native.sparse_convolution import Conv2d

STEM_CHANNELS = 64
STAGE_WIDTHS = (64, 128, 256, 512)
STAGE_BLOCKS = (3, 4, 6, 3)
STAGE_STRIDES = (1, 2, 2, 2)
EXPANSION = 4


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, each with BatchNorm, added to the input (He et al. 2016, figure 5 right).

    (N, in_channels, H, W) to (N, 4·width, ⌈H/stride⌉, ⌈W/stride⌉). The stride is in the 3×3 convolution; where the
    shape changes, the shortcut is a 1×1 convolution with BatchNorm.
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.conv1 = Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        residual: Tensor = F.relu(self.bn1(self.conv1(x)))
        residual = F.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        shortcut: Tensor = x if self.shortcut is None else self.shortcut(x)
        return F.relu(residual + shortcut)


class ResNet50(nn.Module):
    """Stem, four stages of 3, 4, 6 and 3 bottlenecks, global average pooling, a linear classifier.

    Images (N, in_channels, H, W) to logits (N, num_classes).

    Args:
        width_multiplier: scales all channels, rounded, at least 1.
        stem: "cifar" is a 3×3 convolution of stride 1; "imagenet" a 7×7 of stride 2 and a max pooling.
        num_classes: number of logits.
        in_channels: channels of an image.
    """

    def __init__(
        self, *, width_multiplier: float, stem: Literal["cifar", "imagenet"], num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        channels = max(1, round(width_multiplier * STEM_CHANNELS))
        small = stem == "cifar"
        self.conv1 = Conv2d(
            in_channels, channels, 3 if small else 7, stride=1 if small else 2, padding=1 if small else 3, bias=False
        )
        self.bn1 = nn.BatchNorm2d(channels)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        stages = []
        for base, n_blocks, stride in zip(STAGE_WIDTHS, STAGE_BLOCKS, STAGE_STRIDES, strict=True):
            width = max(1, round(width_multiplier * base))
            blocks = []
            for i in range(n_blocks):
                blocks.append(Bottleneck(channels, width, stride if i == 0 else 1))
                channels = EXPANSION * width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """The logits of a batch of images."""
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        logits: Tensor = self.fc(self.stages(x).mean(dim=(2, 3)))
        return logits


def resnet50(
    *,
    num_classes: int = 100,
    in_channels: int = 3,
    image_size: tuple[int, int] = (32, 32),
    width: float = 1.0,
    width_multiplier: float = 1.0,
    stem: Literal["cifar", "imagenet"] = "cifar",
) -> ResNet50:
    """ResNet-50; with the stem for CIFAR and 100 classes it has 23,705,252 parameters, 23,652,032 of them maskable.

    Args:
        num_classes: number of logits.
        in_channels: channels of an image.
        image_size: (H, W); only checked, since the network pools globally.
        width: scales all channels; 1 is the ResNet-50 of the paper.
        width_multiplier: scales them once more, for a small dense network.
        stem: as in `ResNet50`.

    Raises:
        BadInput: a width that is not above 0, or images that vanish in the stages that halve them.
    """
    least = 8 if stem == "cifar" else 32
    if min(image_size) < least:
        raise BadInput(f"images are {image_size[0]}×{image_size[1]}; this ResNet-50 needs at least {least}×{least}.")
    if not 0.0 < width < math.inf:
        raise BadInput(f"width is {width}; it multiplies the channels and must be above 0.")
    return ResNet50(
        width_multiplier=width * width_multiplier, stem=stem, num_classes=num_classes, in_channels=in_channels
    )
