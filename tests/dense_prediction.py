"""Small networks built as published ones are, that say something of every pixel: detectors and the like."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm(reads: int, makes: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(reads, makes, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(makes), nn.SiLU())


class Bottleneck(nn.Module):
    def __init__(self, width: int, adds: bool) -> None:
        super().__init__()
        self.first, self.second, self.adds = conv_norm(width, width), conv_norm(width, width), adds

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x))
        return x + y if self.adds else y


class C2f(nn.Module):
    """YOLOv8's cross-stage block: two halves and what each bottleneck makes of the last part, all concatenated."""

    def __init__(self, reads: int, makes: int, blocks: int, adds: bool) -> None:
        super().__init__()
        width = makes // 2
        self.first, self.last = conv_norm(reads, makes, 1), conv_norm((2 + blocks) * width, makes, 1)
        self.blocks = nn.ModuleList(Bottleneck(width, adds) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.first(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        out: Tensor = self.last(torch.cat(parts, 1))
        return out


class PooledPyramid(nn.Module):
    """YOLO's SPPF: one tensor and three poolings of it, concatenated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = conv_norm(width, width // 2, 1), conv_norm(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        out: Tensor = self.last(torch.cat(parts, 1))
        return out


class DetectionHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.box = nn.Sequential(conv_norm(width, 8), nn.Conv2d(8, 4, 1))
        self.score = nn.Sequential(conv_norm(width, 10), nn.Conv2d(10, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.box(x), self.score(x)], 1)


class Yolo(nn.Module):
    """Backbone, a neck that goes up and down again, and heads at three scales."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down2, self.stage2 = conv_norm(3, 8, 3, 2), conv_norm(8, 12, 3, 2), C2f(12, 12, 2, True)
        self.down3, self.stage3 = conv_norm(12, 16, 3, 2), C2f(16, 16, 1, True)
        self.down4, self.stage4, self.pool = conv_norm(16, 24, 3, 2), C2f(24, 24, 1, True), PooledPyramid(24)
        self.up3, self.up2 = C2f(24 + 16, 16, 1, False), C2f(16 + 12, 12, 1, False)
        self.shrink2, self.low3 = conv_norm(12, 14, 3, 2), C2f(14 + 16, 16, 1, False)
        self.shrink3, self.low4 = conv_norm(16, 18, 3, 2), C2f(18 + 24, 24, 1, False)
        self.heads = nn.ModuleList(DetectionHead(width) for width in (12, 16, 24))

    def forward(self, x: Tensor) -> list[Tensor]:
        p2 = self.stage2(self.down2(self.stem(x)))
        p3 = self.stage3(self.down3(p2))
        p4 = self.pool(self.stage4(self.down4(p3)))
        up3 = self.up3(torch.cat([F.interpolate(p4, scale_factor=2), p3], 1))
        n2 = self.up2(torch.cat([F.interpolate(up3, scale_factor=2), p2], 1))
        n3 = self.low3(torch.cat([self.shrink2(n2), up3], 1))
        n4 = self.low4(torch.cat([self.shrink3(n3), p4], 1))
        return [head(x) for head, x in zip(self.heads, (n2, n3, n4), strict=True)]


class UNet(nn.Module):
    """An odd side on the way down, so that forward pads on the way up."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = self.twice(3, 8), self.twice(8, 12), self.twice(12, 20)
        self.up2, self.dec2 = nn.ConvTranspose2d(20, 10, 2, 2), self.twice(22, 12)
        self.up1, self.dec1 = nn.ConvTranspose2d(12, 6, 2, 2), self.twice(14, 8)
        self.head = nn.Conv2d(8, 2, 1)

    @staticmethod
    def twice(reads: int, makes: int) -> nn.Sequential:
        return nn.Sequential(conv_norm(reads, makes), conv_norm(makes, makes))

    @staticmethod
    def join(up: Tensor, skip: Tensor) -> Tensor:
        dy, dx = skip.shape[2] - up.shape[2], skip.shape[3] - up.shape[3]
        return torch.cat([skip, F.pad(up, (dx // 2, dx - dx // 2, dy // 2, dy - dy // 2))], 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        x = self.dec2(self.join(self.up2(self.bottom(F.max_pool2d(b, 2))), b))
        out: Tensor = self.head(self.dec1(self.join(self.up1(x), a)))
        return out


class SuperResolution(nn.Module):
    """EDSR: no batch norm, scaled residuals, pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 10, 3, padding=1), nn.ReLU(), nn.Conv2d(10, 8, 3, padding=1)) for _ in range(2)
        )
        self.up = nn.Sequential(nn.Conv2d(8, 24, 3, padding=1), nn.PixelShuffle(2))
        self.head = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        for block in self.body:
            y = y + 0.1 * block(y)
        out: Tensor = self.head(self.up(y)) + F.interpolate(x, scale_factor=2, mode="bicubic")
        return out


class SharedTower(nn.Module):
    """One convolution for all scales, and batch norms of each scale's own."""

    def __init__(self, width: int, scales: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(scales))

    def forward(self, x: Tensor, scale: int) -> Tensor:
        return F.relu(self.norms[scale](self.conv(x)))


class Retina(nn.Module):
    """A feature pyramid; both towers and heads read every scale, and the towers share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 8)
        self.stages = nn.ModuleList([conv_norm(8, 10, 3, 2), conv_norm(10, 12, 3, 2), conv_norm(12, 14, 3, 2)])
        self.lateral = nn.ModuleList(nn.Conv2d(width, 9, 1) for width in (10, 12, 14))
        self.smooth = nn.ModuleList(nn.Conv2d(9, 11, 3, padding=1) for _ in range(3))
        self.scores, self.boxes = SharedTower(11, 3), SharedTower(11, 3)
        self.boxes.conv.weight = self.scores.conv.weight
        self.score, self.box = nn.Conv2d(11, 2 * 5, 3, padding=1), nn.Conv2d(11, 2 * 4, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x, maps = self.stem(x), []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            maps.append(lateral(x))
        for i in (1, 0):
            maps[i] = maps[i] + F.interpolate(maps[i + 1], size=maps[i].shape[-2:])
        scales = [smooth(each) for smooth, each in zip(self.smooth, maps, strict=True)]
        scores = [self.flat(self.score(self.scores(each, i)), 5) for i, each in enumerate(scales)]
        boxes = [self.flat(self.box(self.boxes(each, i)), 4) for i, each in enumerate(scales)]
        return {"scores": torch.cat(scores, 1), "boxes": torch.cat(boxes, 1)}

    @staticmethod
    def flat(x: Tensor, each: int) -> Tensor:
        return x.permute(0, 2, 3, 1).reshape(len(x), -1, each)


@dataclass
class Segmentation:
    """What ImageAndMask returns; torch knows nothing of it."""

    masks: Tensor
    scores: list[Tensor]


class ImageAndMask(nn.Module):
    """The mask cuts out features, is read beside them, and has a stem of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mask, self.conv = conv_norm(3, 8), nn.Conv2d(1, 8, 3, padding=1), conv_norm(9, 10)
        self.masks, self.scores = nn.Conv2d(10, 2, 1), nn.Linear(10, 5)

    def forward(self, image: Tensor, mask: Tensor) -> Segmentation:
        x = self.stem(image) * mask + self.mask(mask)
        x = self.conv(torch.cat([x, mask], 1))
        return Segmentation(self.masks(x), [self.scores(x.mean((2, 3)))])
