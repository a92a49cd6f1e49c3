"""Inputs of four channels, from loaders with transforms: red, green, blue, and how steep the picture is.

python examples/four_channels.py [--quick]
"""

from typing import Any

import torch
import torch.nn.functional as F
from chain import Chain, asked_for_quick, halved
from fit import fit
from scenes import scenes
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import secateur as sc


class Pictures(Dataset[Any]):
    """A map-style data set as people write them: a transform of its own, and items with more than input and target."""

    def __init__(self, split: str, count: int) -> None:
        self.scenes, self.training = scenes(split, count, most=1), split == "train"
        self.move = v2.RandomAffine(degrees=5, translate=(0.05, 0.05))

    def __len__(self) -> int:
        return len(self.scenes.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int, str]:
        image = F.avg_pool2d(self.scenes.images[index], 2)
        image = self.move(image) if self.training else image
        grey = F.pad(image.mean(0, keepdim=True), (0, 1, 0, 1), mode="replicate")
        steep = (grey[:, 1:, :-1] - grey[:, :-1, :-1]).abs() + (grey[:, :-1, 1:] - grey[:, :-1, :-1]).abs()
        return torch.cat([image, steep]), int(self.scenes.boxes[index, 0, 0]), f"picture {index}"


def network() -> nn.Module:
    """ResNet-20 with four input channels."""
    model = sc.constructor("resnet20", 10)()
    model.register_module("conv1", nn.Conv2d(4, 16, 3, padding=1, bias=False))
    return model


def main(quick: bool = False) -> Chain:
    """Train, halve, tune."""
    images, epochs = (48, 1) if quick else (2000, 12)
    parts = Pictures("train", images), Pictures("holdout", images // 4), Pictures("test", images // 4)
    data = sc.Data.of(*(DataLoader(part, 64) for part in parts), name="four channels")
    torch.manual_seed(0)
    model = fit(network(), parts[0], data.task.loss, epochs)
    chain = halved(model, data, epochs=max(1, epochs // 3), quick=quick)
    print(chain)
    return chain


if __name__ == "__main__":
    main(quick=asked_for_quick(__doc__))
