"""Segmentation: a U-Net that finds the handwritten digits 0 to 3 in photographs, halved, tuned and exported.

python examples/segmentation.py [--quick]
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from chain import Chain, asked_for_quick, halved
from fit import fit
from scenes import scenes
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import secateur as sc

DIGITS = 4  # 0 to 3
CLASSES = DIGITS + 1  # and the background


def twice(reads: int, makes: int) -> nn.Sequential:
    """Two convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for width in (reads, makes):
        layers += [nn.Conv2d(width, makes, 3, padding=1, bias=False), nn.BatchNorm2d(makes), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Three scales down, three up."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.one, self.two, self.three = twice(3, width), twice(width, 2 * width), twice(2 * width, 4 * width)
        self.bottom = twice(4 * width, 8 * width)
        self.up_three, self.up_two = twice(12 * width, 4 * width), twice(6 * width, 2 * width)
        self.up_one, self.head = twice(3 * width, width), nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel. Shape: (B, 3, H, W) → (B, 5, H, W)"""
        one = self.one(x)
        two = self.two(F.max_pool2d(one, 2))
        three = self.three(F.max_pool2d(two, 2))
        y = self.bottom(F.max_pool2d(three, 2))
        for up, skip in ((self.up_three, three), (self.up_two, two), (self.up_one, one)):
            y = up(torch.cat([F.interpolate(y, scale_factor=2.0), skip], 1))
        logits: Tensor = self.head(y)
        return logits


def masks(split: str, count: int) -> TensorDataset:
    """Pairs of a picture and its map of classes."""
    drawn = scenes(split, count, kinds=DIGITS)
    return TensorDataset(drawn.images, drawn.masks)


def main(quick: bool = False) -> Chain:
    """Train, halve, tune, export."""
    images, epochs, width = (48, 1, 4) if quick else (2000, 25, 8)
    task = sc.Segmentation(CLASSES)
    parts = masks("train", images), masks("holdout", images // 4), masks("test", images // 4)
    data = sc.Data.of(*parts, task=task, name="digits in photographs")
    torch.manual_seed(0)
    model = fit(UNet(width), parts[0], task.loss, epochs, rate=0.01)
    chain = halved(model, data, epochs=max(1, epochs // 3), quick=quick)
    with TemporaryDirectory() as folder:
        sc.save(chain.student, folder)
        exported = sc.export(folder, "onnx", Path(folder, "unet.onnx"), base=lambda: UNet(width))
        print(chain, exported, sep="\n")
    return chain


if __name__ == "__main__":
    main(quick=asked_for_quick(__doc__))
