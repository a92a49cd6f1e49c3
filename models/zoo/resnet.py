"""ResNets for 32-pixel images, with the parameter-free shortcuts that CIFAR results are quoted on."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Shortcut(nn.Module):
    """Every second pixel, between two blocks of zero channels: option A of He et al. 2016, section 3.3.

    Channel ``c`` becomes channel ``c + writes / 4`` when the width doubles. The zeros are two buffers,
    not the integers of a padding call: pruning slices a buffer like any other tensor, so that every
    channel that stays still meets the channel it met before, whatever was removed around it. The paper
    doesn't say where the zeros go; half on each side is where the published CIFAR checkpoints have them.

    Shape: (N, reads, H, W) → (N, writes, ⌈H/2⌉, ⌈W/2⌉)
    """

    before: Tensor
    after: Tensor

    def __init__(self, reads: int, writes: int) -> None:
        super().__init__()
        pad = (writes - reads) // 2
        self.register_buffer("before", torch.zeros(1, pad, 1, 1), persistent=False)
        self.register_buffer("after", torch.zeros(1, writes - reads - pad, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The image at half the resolution, with zeros in the channels that are new."""
        x = x[:, :, ::2, ::2]
        n, _, h, w = x.shape
        return torch.cat([self.before.expand(n, -1, h, w), x, self.after.expand(n, -1, h, w)], 1)


class Block(nn.Module):
    """Two 3×3 convolutions and the shortcut that they add to: fig. 2 of He et al. 2016.

    A block that changes the width also halves the resolution.

    Shape: (N, reads, H, W) → (N, writes, H, W), or half of H and W where ``writes`` differs from ``reads``
    """

    def __init__(self, reads: int, writes: int) -> None:
        super().__init__()
        stride = 1 if reads == writes else 2
        self.conv1 = nn.Conv2d(reads, writes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(writes)
        self.conv2 = nn.Conv2d(writes, writes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(writes)
        self.shortcut = nn.Identity() if reads == writes else Shortcut(reads, writes)

    def forward(self, x: Tensor) -> Tensor:
        """The rectified sum of the convolutions' output and the shortcut's."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem and three stages of ``blocks`` blocks, 16, 32 and 64 wide: 6·blocks + 2 layers with weights.

    He et al. 2016, section 4.2 (https://arxiv.org/abs/1512.03385), initialised as in He et al. 2015
    (https://arxiv.org/abs/1502.01852).

    Shape: (N, 3, H, W) → (N, classes)
    """

    def __init__(self, blocks: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(blocks, 16, 16)
        self.layer2 = _stage(blocks, 16, 32)
        self.layer3 = _stage(blocks, 32, 64)
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """One logit for each class."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


def resnet20(classes: int = 10) -> nn.Module:
    """ResNet-20: 0.27 M parameters, 40.6 M MACs at 32 px."""
    return ResNet(3, classes)


def resnet32(classes: int = 10) -> nn.Module:
    """ResNet-32: 0.46 M parameters, 68.9 M MACs at 32 px."""
    return ResNet(5, classes)


def resnet44(classes: int = 10) -> nn.Module:
    """ResNet-44: 0.66 M parameters, 97.2 M MACs at 32 px."""
    return ResNet(7, classes)


def resnet56(classes: int = 10) -> nn.Module:
    """ResNet-56: 0.85 M parameters, 125.5 M MACs at 32 px."""
    return ResNet(9, classes)


def resnet110(classes: int = 10) -> nn.Module:
    """ResNet-110: 1.7 M parameters, 252.9 M MACs at 32 px."""
    return ResNet(18, classes)


def _stage(blocks: int, reads: int, writes: int) -> nn.Sequential:
    return nn.Sequential(Block(reads, writes), *(Block(writes, writes) for _ in range(blocks - 1)))
