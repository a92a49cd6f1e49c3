"""MobileNetV2 for 32-pixel images."""

from collections import OrderedDict

from torch import Tensor, nn

# Table 2 of the paper, a line a stage: expansion, width, blocks, stride of the first block. The
# second stage has stride 2 there; with the stem's, two of the five halvings are left out at 32 px.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Widen by 1×1, filter each channel by 3×3, narrow by 1×1 with no activation behind it.

    Section 3.3 and table 1 of Sandler et al. 2018. The input is added where the shapes allow it. Where
    ``expansion`` is 1 there is nothing to widen, and ``expand`` passes its input on.

    Shape: (N, reads, H, W) → (N, writes, ⌈H/stride⌉, ⌈W/stride⌉)
    """

    def __init__(self, reads: int, writes: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = reads * expansion
        self.expand = nn.Identity() if expansion == 1 else _conv_bn_relu(reads, hidden, 1)
        self.depthwise = _conv_bn_relu(hidden, hidden, 3, stride, groups=hidden)
        self.project = nn.Sequential(_conv_bn(hidden, writes, 1))
        self.residual = stride == 1 and reads == writes

    def forward(self, x: Tensor) -> Tensor:
        """The projected features, with the input added where the shapes allow it."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """A stem, seven stages of inverted residuals, and a 1×1 convolution to 1280 channels.

    Sandler et al. 2018, section 4 and table 2 (https://arxiv.org/abs/1801.04381). Made for 224 px; here
    the stem and the second stage keep the resolution, so 32 px end as 4×4.

    Shape: (N, 3, H, W) → (N, classes)
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = _conv_bn_relu(3, 32, 3)
        blocks: list[nn.Module] = []
        reads = 32
        for expansion, writes, count, stride in STAGES:
            for i in range(count):
                blocks.append(InvertedResidual(reads, writes, expansion, stride if i == 0 else 1))
                reads = writes
        self.blocks = nn.Sequential(*blocks)
        self.head = _conv_bn_relu(reads, 1280, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(1280, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """One logit for each class."""
        x = self.head(self.blocks(self.stem(x)))
        logits: Tensor = self.linear(self.dropout(self.pool(x).flatten(1)))
        return logits


def mobilenetv2(classes: int = 10) -> nn.Module:
    """MobileNetV2 at width 1: 2.2 M parameters, 88.0 M MACs at 32 px."""
    return MobileNetV2(classes)


def _conv_bn(reads: int, writes: int, kernel: int, stride: int = 1, *, groups: int = 1) -> OrderedDict[str, nn.Module]:
    conv = nn.Conv2d(reads, writes, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return OrderedDict(conv=conv, bn=nn.BatchNorm2d(writes))


def _conv_bn_relu(reads: int, writes: int, kernel: int, stride: int = 1, *, groups: int = 1) -> nn.Sequential:
    layers = _conv_bn(reads, writes, kernel, stride, groups=groups)
    return nn.Sequential(OrderedDict(layers, relu=nn.ReLU6()))
