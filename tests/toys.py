"""Small networks, each with one structure that pruning must follow or leave alone."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(reads: int, writes: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(reads, writes, 3, padding=1, groups=groups)


class Between(nn.Module):
    """Two convolutions before ``middle``, one behind it."""

    def __init__(self, middle: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = conv(3, 6), conv(6, 8)
        self.middle = middle
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.middle(F.relu(self.second(F.relu(self.first(x))))))
        return out.mean((2, 3))


class Toy(nn.Module):
    """A stem of 8 filters with batch norm, something in the middle, and a head."""

    norm: nn.Module
    head: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = conv(3, 8), nn.BatchNorm2d(8)
        self.build()

    def build(self) -> None:
        self.head = nn.Conv2d(8, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> object:
        return self.head(self.middle(F.relu(self.norm(self.stem(x)))))


class Concat(Toy):
    """Two layers of a DenseNet."""

    def build(self) -> None:
        self.norm1, self.conv1 = nn.BatchNorm2d(8), conv(8, 4)
        self.norm2, self.conv2 = nn.BatchNorm2d(12), conv(12, 6)
        self.norm3, self.head = nn.BatchNorm2d(18), nn.Conv2d(18, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.conv1(F.relu(self.norm1(x)))], 1)
        x = torch.cat([x, self.conv2(F.relu(self.norm2(x)))], 1)
        return F.relu(self.norm3(x))


class ConcatTwice(Toy):
    """One tensor at two places of a concatenation."""

    def build(self) -> None:
        self.head = nn.Conv2d(16, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.tanh(x)], 1)


class SqueezeExcite(Toy):
    def build(self) -> None:
        self.squeeze, self.excite, self.head = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))


class SqueezeExciteLinear(Toy):
    def build(self) -> None:
        self.squeeze, self.excite, self.head = nn.Linear(8, 4), nn.Linear(4, 8), nn.Conv2d(8, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        gate = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1).flatten(1))))
        return x * torch.sigmoid(gate)[:, :, None, None]


class Grouped(Toy):
    """A convolution of 4 groups, 2 channels read and 3 made in each."""

    def build(self) -> None:
        self.grouped, self.norm2, self.head = conv(8, 12, groups=4), nn.BatchNorm2d(12), nn.Conv2d(12, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        return F.relu(self.norm2(self.grouped(x)))


class Multiplier(Toy):
    """A depthwise convolution that makes three channels of each."""

    def build(self) -> None:
        self.depthwise, self.norm2, self.head = conv(8, 24, groups=8), nn.BatchNorm2d(24), nn.Conv2d(24, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        return F.relu(self.norm2(self.depthwise(x)))


class GroupedStem(Toy):
    """Grouped convolutions that read the image itself."""

    def build(self) -> None:
        self.depthwise, self.head = conv(3, 6, groups=3), nn.Conv2d(14, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.cat([self.norm(self.stem(x)), self.depthwise(x)], 1))
        return out


class Flatten(Toy):
    """Eight channels of 4x4 pixels flattened into a linear layer."""

    def build(self) -> None:
        self.hidden, self.norm1, self.last = nn.Linear(8 * 16, 7), nn.BatchNorm1d(7), nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.stem(x))), 2)
        out: Tensor = self.last(F.relu(self.norm1(self.hidden(x.flatten(1)))))
        return out


class Shared(Toy):
    """One module called twice, and one that shares its weight alone."""

    def build(self) -> None:
        self.again, self.other, self.head = conv(8, 8), conv(8, 8), nn.Conv2d(8, 5, 1)
        self.other.weight = self.again.weight

    def middle(self, x: Tensor) -> Tensor:
        out: Tensor = self.other(F.relu(self.again(F.relu(self.again(x)))))
        return out


class Functional(Toy):
    """A convolution and a matrix product that are calls, not modules."""

    def build(self) -> None:
        self.weight, self.bias = nn.Parameter(torch.randn(6, 8, 3, 3)), nn.Parameter(torch.randn(6))
        self.matrix, self.head = nn.Parameter(torch.randn(6, 9)), nn.Linear(9, 5)

    def middle(self, x: Tensor) -> Tensor:
        return F.relu(F.conv2d(x, self.weight, self.bias).mean((2, 3)) @ self.matrix)


class FixedKernel(Toy):
    """A convolution whose weight is a buffer."""

    kernel: Tensor

    def build(self) -> None:
        self.register_buffer("kernel", torch.randn(6, 8, 1, 1))
        self.head = nn.Conv2d(6, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel)


class Slopes(Toy):
    """PReLU with one slope for each channel, and with one for all."""

    def build(self) -> None:
        self.slopes, self.conv, self.slope, self.head = nn.PReLU(8), conv(8, 6), nn.PReLU(), nn.Conv2d(6, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        out: Tensor = self.slope(self.conv(self.slopes(x - 0.5)))
        return out


class NoNorm(Toy):
    def build(self) -> None:
        self.norm = nn.Identity()
        self.conv, self.head = nn.Conv2d(8, 6, 3, bias=False), nn.Conv2d(6, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv(x))


class Transposed(Toy):
    """An upsampling decoder; grouped too, but only where it reads the image."""

    def build(self) -> None:
        self.up, self.norm2 = nn.ConvTranspose2d(8, 6, 2, stride=2), nn.BatchNorm2d(6)
        self.up3, self.head = nn.ConvTranspose2d(3, 12, 2, stride=2, groups=3), nn.Conv2d(18, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        made = self.up(F.relu(self.norm(self.stem(x))))
        out: Tensor = self.head(torch.cat([F.relu(self.norm2(made)), F.relu(self.up3(x))], 1))
        return out


class TwoOutputs(Toy):
    def build(self) -> None:
        self.conv, self.head, self.other = conv(8, 6), nn.Conv2d(6, 5, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.conv(self.norm(self.stem(x))))
        return self.head(x), self.other(x.mean((2, 3)))


class NamedOutputs(Toy):
    """The logits, and features that another convolution reads too."""

    def build(self) -> None:
        self.conv, self.head = conv(8, 6), nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.norm(self.stem(x)))
        features = self.conv(x)
        return {"logits": self.head(features), "features": features}


class ChannelsLast(Toy):
    """ConvNeXt's order: linear layers and a scale along the last dimension."""

    def build(self) -> None:
        self.widen, self.narrow = nn.Linear(8, 12), nn.Linear(12, 8)
        self.scale, self.head = nn.Parameter(torch.randn(1, 1, 1, 8)), nn.Conv2d(8, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        y = self.narrow(F.gelu(self.widen(x.permute(0, 2, 3, 1)))) * self.scale
        out: Tensor = x + y.permute(0, 3, 1, 2)
        return out


class PaddedShortcut(Toy):
    """The integers of a padding call in place of zeros that can be sliced: only what meets no zero can go."""

    def build(self) -> None:
        self.conv, self.head = conv(8, 12), nn.Conv2d(12, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + F.pad(x, (0, 0, 0, 0, 2, 2)))


class InstanceNorm(Toy):
    def build(self) -> None:
        self.instance, self.head = nn.InstanceNorm2d(8, affine=True), nn.Conv2d(8, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        out: Tensor = self.instance(x)
        return out


class OwnStatistics(Toy):
    """Batch norm that tracks nothing, and one without weights."""

    def build(self) -> None:
        self.own, self.conv = nn.BatchNorm2d(8, track_running_stats=False), conv(8, 6)
        self.bare, self.head = nn.BatchNorm2d(6, affine=False), nn.Conv2d(6, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        out: Tensor = self.bare(self.conv(self.own(x)))
        return out


class Views(Toy):
    """Two views of each image go through the layers together, folded into the batch."""

    def forward(self, x: Tensor) -> Tensor:
        both: Tensor = self.head(F.relu(self.norm(self.stem(torch.cat([x, x.flip(3)], 0)))))
        return both.view(2, -1, *both.shape[1:]).mean(0)


class Halves(Toy):
    """Channels cut into halves: the halves stay equal."""

    def build(self) -> None:
        self.conv, self.head = conv(4, 6), nn.Conv2d(6, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return F.relu(self.conv(a * b))


class ConvolvedChannels(Toy):
    """A convolution that slides along the channels: they stay, its own filters may go."""

    def build(self) -> None:
        self.along, self.last, self.head = nn.Conv1d(1, 4, 3, padding=1), nn.Linear(32, 5), nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        out: Tensor = self.head(x).mean((2, 3)) + self.last(self.along(x.mean((2, 3)).unsqueeze(1)).flatten(1))
        return out


class NormedPixels(Toy):
    """Batch norm whose features are pixels: its batch statistics mix the channels."""

    def build(self) -> None:
        self.pixels, self.conv, self.head = nn.BatchNorm1d(64), conv(8, 6), nn.Conv2d(6, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        y = self.pixels(x.flatten(2).transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.conv(y.reshape(x.shape))
        return out


class PooledTokens(Toy):
    """A picture without its batch dimension, so to say: pooling slides along the channels."""

    def build(self) -> None:
        self.conv, self.head = nn.Conv1d(8, 6, 1), nn.Conv1d(6, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.max_pool2d(x.flatten(2), 3, 1, 1))
        return out


class Outer(Toy):
    """Products of all pairs of channels, flattened."""

    def build(self) -> None:
        self.conv, self.pairs, self.head = conv(8, 6), nn.Linear(64, 5), nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        v = x.mean((2, 3))
        pairs = (v[:, :, None] * v[:, None, :]).flatten(1)
        out: Tensor = self.pairs(pairs) + self.head(self.conv(x)).mean((2, 3))
        return out


class MadeBias(Toy):
    """A bias that forward computes in a way nobody can follow."""

    def build(self) -> None:
        self.conv, self.steps, self.head = conv(8, 6), nn.Parameter(torch.randn(6)), nn.Conv2d(6, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.conv.weight, self.steps.cumsum(0))


TOYS: list[type[Toy]] = [
    Concat, ConcatTwice, SqueezeExcite, SqueezeExciteLinear, Grouped, Multiplier, GroupedStem, Flatten, Shared,
    Functional, FixedKernel, Slopes, NoNorm, Transposed, TwoOutputs, NamedOutputs, ChannelsLast, PaddedShortcut,
    InstanceNorm, OwnStatistics, Views, Halves, ConvolvedChannels, NormedPixels, PooledTokens, Outer, MadeBias,
]  # fmt: skip
FROZEN: dict[type[Toy], dict[str, int]] = {  # of each toy, besides its outputs: how many channels stay, and why
    GroupedStem: {"goes through a grouped convolution of channels that stay": 6},
    PaddedShortcut: {"meets zero padding of a fixed width": 4},
    ConvolvedChannels: {"lies in space where aten.convolution works": 8},
    NormedPixels: {"is normalised over": 8},
    PooledTokens: {"lies in space where aten.max_pool2d_with_indices works": 8},
    Outer: {"shares a dimension with others by a reshape": 8},
    MadeBias: {"meets a tensor of a fixed size that forward makes": 6},
}
PRUNABLE: dict[type[Toy], list[int]] = {  # the widths of the groups, in the order of the network
    Concat: [8, 4, 6], ConcatTwice: [8], SqueezeExcite: [8, 4], SqueezeExciteLinear: [8, 4], Grouped: [2, 3],
    Multiplier: [8], GroupedStem: [8], Flatten: [8, 7], Shared: [8], Functional: [6, 8, 9], FixedKernel: [8, 6],
    Slopes: [8, 6], NoNorm: [8, 6], Transposed: [8, 6, 4], TwoOutputs: [8, 6], NamedOutputs: [8],
    ChannelsLast: [8, 12], PaddedShortcut: [8], InstanceNorm: [8], OwnStatistics: [8, 6], Views: [8], Halves: [4, 6],
    ConvolvedChannels: [4], NormedPixels: [6], PooledTokens: [6], Outer: [6], MadeBias: [8],
}  # fmt: skip
