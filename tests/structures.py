"""Small networks built as published ones are, and what of each can be pruned by its structure.

Names in ``prunable`` and ``frozen`` are those of the first layer that makes a group's channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from dense_prediction import ImageAndMask, Retina, SuperResolution, UNet, Yolo, conv_norm
from torch import Tensor, nn


@dataclass(frozen=True)
class Structure:
    """``prunable``: group → width. ``frozen``: group → how the reason starts. ``outputs``: layers that make one."""

    make: Callable[[], nn.Module]
    prunable: dict[str, int]
    outputs: Sequence[str]
    frozen: dict[str, str] = field(default_factory=dict)
    inputs: Sequence[tuple[int, ...]] = ((1, 3, 16, 16),)


class Res2Block(nn.Module):
    """Parts of the channels, each convolved after the result of the one before was added to it."""

    def __init__(self, reads: int, width: int, parts: int, chained: bool) -> None:
        super().__init__()
        self.narrow, self.chained = conv_norm(reads, width * parts, 1), chained
        self.convs = nn.ModuleList(conv_norm(width, width) for _ in range(parts - 1))
        self.widen = nn.Sequential(nn.Conv2d(width * parts, reads, 1), nn.BatchNorm2d(reads))

    def forward(self, x: Tensor) -> Tensor:
        *parts, last = self.narrow(x).chunk(len(self.convs) + 1, 1)
        made: list[Tensor] = []
        for conv, part in zip(self.convs, parts, strict=True):
            made.append(conv(part + made[-1] if made and self.chained else part))
        made.append(last if self.chained else F.avg_pool2d(last, 3, 1, 1))
        return F.relu(x + self.widen(torch.cat(made, 1)))


class Res2Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.chain = conv_norm(3, 16, 3, 2), Res2Block(16, 5, 4, True)
        self.stage, self.pool, self.flat = Res2Block(16, 4, 3, False), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.head = nn.Linear(16, 5)


class WrittenWidth(nn.Module):
    """Channel shuffle with the channels of a part as a number, not taken from the tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide, self.after = conv_norm(3, 8), conv_norm(8, 12), conv_norm(12, 10)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.wide(self.stem(x))
        n, _, h, w = x.shape
        x = x.view(n, 2, 6, h, w).transpose(1, 2).reshape(n, 12, h, w)
        out: Tensor = self.head(self.after(x).mean((2, 3)))
        return out


class SameLayers(nn.Module):
    """Values decide which activation runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = conv_norm(3, 8), nn.Conv2d(8, 6, 3), nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(self.stem(x))
        y = F.relu(y) if x.mean() > 0 else torch.tanh(y)
        out: Tensor = self.head(y).mean((2, 3))
        return out


class OtherLayers(nn.Module):
    """Values decide which layers run."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.other = conv_norm(3, 8), conv_norm(8, 6), conv_norm(8, 6)
        self.head = nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        out: Tensor = self.head(self.one(y) if x.mean() > 0 else self.other(y)).mean((2, 3))
        return out


class AuxiliaryHead(nn.Module):
    """GoogLeNet's way to train: a head that evaluation never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = conv_norm(3, 8), conv_norm(8, 6)
        self.auxiliary, self.head = nn.Linear(8, 5), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        logits = [self.head(self.conv(x).mean((2, 3)))]
        return [*logits, self.auxiliary(x.mean((2, 3)))] if self.training else logits


class Ghost(nn.Module):
    """Half of the channels by a convolution, half by a depthwise one of these; what is too much is cut off."""

    def __init__(self, reads: int, makes: int) -> None:
        super().__init__()
        self.makes, half = makes, -(-makes // 2)
        self.primary, self.cheap = conv_norm(reads, half, 1), conv_norm(half, half, 3, groups=half)

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        return torch.cat([x, self.cheap(x)], 1)[:, : self.makes]


class GhostNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.expand, self.project = conv_norm(3, 8), Ghost(8, 16), Ghost(16, 8)
        self.expand2, self.project2 = Ghost(8, 12), Ghost(12, 15)
        self.shortcut, self.head = nn.Conv2d(8, 15, 1), nn.Conv2d(15, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.project(self.expand(x))
        x = self.shortcut(x) + self.project2(self.expand2(x))
        out: Tensor = self.head(x).mean((2, 3))
        return out


class SelectiveKernel(nn.Module):
    """SKNet: branches of several kernels, weighed against each other channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 6)
        self.branches = nn.ModuleList([conv_norm(6, 8, 3), conv_norm(6, 8, 5)])
        self.squeeze, self.select, self.head = nn.Linear(8, 4), nn.Linear(4, 16), nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        stacked = torch.stack([branch(x) for branch in self.branches], 1)
        scores = self.select(F.relu(self.squeeze(stacked.sum(1).mean((2, 3)))))
        weights = scores.view(len(x), 2, -1).softmax(1)[..., None, None]
        out: Tensor = self.head((stacked * weights).sum(1))
        return out


class SplitAttention(nn.Module):
    """ResNeSt: a grouped convolution makes the splits, whose softmax runs over the splits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.splits = conv_norm(3, 8), conv_norm(8, 12, 3, groups=2)
        self.squeeze, self.select, self.head = nn.Conv2d(6, 4, 1), nn.Conv2d(4, 12, 1), nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.splits(self.stem(x))
        splits = x.view(len(x), 2, x.shape[1] // 2, *x.shape[2:])
        scores = self.select(F.relu(self.squeeze(splits.sum(1).mean((2, 3), keepdim=True))))
        weights = scores.view(len(x), 1, 2, -1).transpose(1, 2).softmax(1).reshape(len(x), -1)
        weights = weights.view(len(x), 2, -1, 1, 1)
        out: Tensor = self.head((splits * weights).sum(1))
        return out


class PaddedBlock(nn.Module):
    """A basic block whose shortcut takes every second pixel and pads channels by a number."""

    def __init__(self, reads: int, makes: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(reads, makes, 3, makes // reads, 1), nn.BatchNorm2d(makes)
        self.conv2, self.norm2 = nn.Conv2d(makes, makes, 3, 1, 1), nn.BatchNorm2d(makes)
        self.pad = (makes - reads) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(x + y)


class OptionA(nn.Sequential):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block1, self.block2 = conv_norm(3, 8), PaddedBlock(8, 8), PaddedBlock(8, 16)
        self.block3, self.pool, self.flat = PaddedBlock(16, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.head = nn.Linear(32, 5)


class ConvNeXtBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(F.gelu(self.widen(y)))
        out: Tensor = x + y.permute(0, 3, 1, 2)
        return out


class ConvNeXt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm1, self.block1 = nn.Conv2d(3, 8, 2, 2), nn.LayerNorm(8), ConvNeXtBlock(8)
        self.norm2, self.down, self.block2 = nn.LayerNorm(8), nn.Conv2d(8, 12, 2, 2), ConvNeXtBlock(12)
        self.norm3, self.head = nn.LayerNorm(12), nn.Linear(12, 5)

    @staticmethod
    def over_channels(norm: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out

    def forward(self, x: Tensor) -> Tensor:
        x = self.block1(self.over_channels(self.norm1, self.stem(x)))
        x = self.block2(self.down(self.over_channels(self.norm2, x)))
        out: Tensor = self.head(self.norm3(F.adaptive_avg_pool2d(x, 1).flatten(1)))
        return out


class Video(nn.Module):
    """Three-dimensional convolutions and poolings, with a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8)
        self.conv1, self.norm1 = nn.Conv3d(8, 6, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(6)
        self.conv2, self.up = nn.Conv3d(6, 8, (3, 1, 1), padding=(1, 0, 0)), nn.ConvTranspose3d(8, 7, 2, 2)
        self.conv3, self.head = nn.Conv3d(15, 9, 1), nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool3d(F.relu(self.norm(self.stem(x))), 2)
        x = F.relu(x + self.conv2(F.relu(self.norm1(self.conv1(x)))))
        low = F.interpolate(F.avg_pool3d(x, 2), scale_factor=4, mode="trilinear")
        x = F.relu(self.conv3(torch.cat([self.up(x), low], 1)))
        out: Tensor = self.head(F.adaptive_avg_pool3d(x, 1).flatten(1))
        return out


class Signal(nn.Module):
    """A gated temporal network with a depthwise dilated convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv1d(2, 8, 5, padding=2), nn.BatchNorm1d(8)
        self.depthwise = nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.gated, self.back = nn.Conv1d(8, 12, 1), nn.Conv1d(6, 8, 1)
        self.up, self.last = nn.ConvTranspose1d(8, 7, 4, 2, 1), nn.Conv1d(15, 9, 3, padding=1)
        self.head = nn.Linear(9 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(F.relu(self.norm(self.stem(x))), 2)
        x = x + self.back(F.glu(self.gated(self.depthwise(x)), 1))
        low = F.interpolate(F.avg_pool1d(x, 2), scale_factor=4, mode="linear")
        x = F.relu(self.last(torch.cat([self.up(x), low], 1)))
        out: Tensor = self.head(F.adaptive_avg_pool1d(x, 4).flatten(1))
        return out


class NetworkInNetwork(nn.Module):
    """1x1 convolutions, one of them an einsum; a gate by unbind; a grouped transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.pair = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 9, 1), nn.Conv2d(9, 12, 1)
        self.matrix = nn.Parameter(torch.randn(10, 6))
        self.narrow, self.up = nn.Conv2d(10, 8, 1), nn.ConvTranspose2d(8, 6, 2, 2, groups=2)
        self.mix, self.head = nn.Conv2d(6, 7, 3), nn.Conv2d(7, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pair(F.relu(self.inner(F.relu(self.stem(x)))))
        gate, value = x.view(len(x), 2, -1, *x.shape[2:]).unbind(1)
        x = F.relu(torch.einsum("nchw,oc->nohw", gate.sigmoid() * value, self.matrix))
        x = F.relu(self.mix(F.relu(self.up(F.relu(self.narrow(x))))))
        out: Tensor = self.head(x).mean((2, 3))
        return out


def c2f(name: str, makes: int, blocks: int, adds: bool) -> dict[str, int]:
    """The groups of a C2f: the halves are equal; with sums, what the bottlenecks make is tied to them."""
    groups = {f"{name}.first.0": makes // 2, f"{name}.last.0": makes}
    for i in range(blocks):
        groups[f"{name}.blocks.{i}.first.0"] = makes // 2
        if not adds:
            groups[f"{name}.blocks.{i}.second.0"] = makes // 2
    return groups


PADDED = "meets zero padding of a fixed width"
STRUCTURES = [
    Structure(
        Yolo,
        {"stem.0": 8, "down2.0": 12, "down3.0": 16, "down4.0": 24, "shrink2.0": 14, "shrink3.0": 18}
        | c2f("stage2", 12, 2, True) | c2f("stage3", 16, 1, True) | c2f("stage4", 24, 1, True)
        | {"pool.first.0": 12, "pool.last.0": 24}
        | c2f("up3", 16, 1, False) | c2f("up2", 12, 1, False) | c2f("low3", 16, 1, False) | c2f("low4", 24, 1, False)
        | {f"heads.{i}.{part}.0.0": width for i in range(3) for part, width in (("box", 8), ("score", 10))},
        [f"heads.{i}.{part}.1" for i in range(3) for part in ("box", "score")],
        inputs=[(1, 3, 32, 32)],
    ),
    Structure(
        UNet,
        {f"{name}.{i}.0": width for name, width in (("down1", 8), ("down2", 12), ("bottom", 20)) for i in range(2)}
        | {"up2": 10, "dec2.0.0": 12, "dec2.1.0": 12, "up1": 6, "dec1.0.0": 8, "dec1.1.0": 8},
        ["head"],
        inputs=[(1, 3, 18, 22)],
    ),
    Structure(
        Res2Net,
        {"stem.0": 16, "chain.narrow.0": 5, "chain.convs.2.0": 5, "stage.narrow.0": 4}
        | {"stage.convs.0.0": 4, "stage.convs.1.0": 4},
        ["head"],
    ),
    Structure(
        SuperResolution,
        {"stem": 8, "body.0.0": 10, "body.1.0": 10, "up.0": 6},
        [],
        {"head": "meets a tensor of a fixed size that forward makes"},
    ),
    Structure(
        Retina,
        {"stem.0": 8, "stages.0.0": 10, "stages.1.0": 12, "stages.2.0": 14, "lateral.0": 9}
        | {"smooth.0": 11, "scores.conv": 11},
        ["score", "box"],
    ),
    Structure(WrittenWidth, {"stem.0": 8, "after.0": 10}, ["head"], {"wide.0": "has a width written down in forward"}),
    Structure(
        GhostNet,
        {"stem.0": 4, "expand.primary.0": 8, "expand2.primary.0": 6},
        ["head"],
        {"project2.primary.0": "is cut at a fixed place"},
    ),
    Structure(SelectiveKernel, {"stem.0": 6, "branches.0.0": 8, "squeeze": 4}, ["head"]),
    Structure(SplitAttention, {"stem.0": 4, "splits.0": 6, "squeeze": 4}, ["head"]),
    Structure(
        OptionA,
        {"stem.0": 8, "block1.conv1": 8, "block2.conv1": 16, "block3.conv1": 32},
        ["head"],
        {"block2.conv2": PADDED, "block3.conv2": PADDED},
    ),
    Structure(ConvNeXt, {"stem": 8, "block1.widen": 16, "down": 12, "block2.widen": 24}, ["head"]),
    Structure(
        ImageAndMask, {"stem.0": 8, "conv.0": 10}, ["masks", "scores"], inputs=[(1, 3, 16, 16), (1, 1, 16, 16)]
    ),
    Structure(Video, {"stem": 8, "conv1": 6, "up": 7, "conv3": 9}, ["head"], inputs=[(1, 3, 4, 8, 8)]),
    Structure(Signal, {"stem": 8, "gated": 6, "up": 7, "last": 9}, ["head"], inputs=[(1, 2, 32)]),
    Structure(
        NetworkInNetwork,
        {"stem": 8, "inner": 9, "pair": 6, "matrix": 10, "narrow": 4, "up": 3, "mix": 7},
        ["head"],
    ),
]  # fmt: skip
