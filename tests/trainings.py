"""A small network on easy images, and objectives to train it by."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.images import Images
from secateur.models.subnetwork import Subnetwork
from secateur.transfer.bank.bank import MemoryBank
from secateur.transfer.bank.manifest import Teacher
from secateur.transfer.objectives.base import CrossEntropy, Objective
from secateur.transfer.objectives.contrastive import ContrastiveConfig, ContrastiveTransfer
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import Step, train

IMAGES, CLASSES = 60, 4
RECIPE = Recipe(epochs=2, batch=10, checkpoint_every=5)  # 12 steps, checkpoints after 5, 10 and 12


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.drop(F.relu(self.norm(self.stem(x))).mean((2, 3)))))


def toy(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Toy()


def coloured(count: int = IMAGES, flip: bool = True) -> Images:
    """Noise, brighter in the colour of its class: easy."""
    pixels = torch.randint(120, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) % CLASSES
    for image, label in zip(pixels, labels.tolist(), strict=True):
        image[: label or 3] += 0 if label == 3 else 120
    return Images(lambda chunks: (pixels[chunk] for chunk in chunks), labels, (3, 8, 8), flip=flip, pad=1)


def cross_entropy(folder: Path) -> Objective:
    return CrossEntropy()


def contrastive(folder: Path) -> Objective:
    """CKT from a made-up bank of two teachers, with three fixed views."""
    random = torch.Generator().manual_seed(1)
    labels, logits = torch.arange(IMAGES) % CLASSES, torch.randn(2, IMAGES, CLASSES, generator=random)
    embeddings, views = (
        torch.randn(2, IMAGES, 7, generator=random),
        torch.randn(3, 2, IMAGES, CLASSES, generator=random),
    )
    teachers = (Teacher(Subnetwork(((0,),)), 0.0, 1), Teacher(Subnetwork(((1,),)), 1.0, 1))
    fixed = tuple(MemoryBank(folder, teachers, tuple(view.half()), ()) for view in views)
    bank = MemoryBank(folder, teachers, tuple(logits.half()), tuple(embeddings.half()), fixed=fixed)
    return ContrastiveTransfer(bank, labels, 6, ContrastiveConfig(1.0, 1.0, 0.5, power=1, views=2), seed=0)


OBJECTIVES = pytest.mark.parametrize("make", [cross_entropy, contrastive])


def train_toy(
    model: nn.Module, objective: Objective, recipe: Recipe = RECIPE, folder: Path | None = None
) -> Iterator[Step]:
    yield from train(model, coloured(), objective, recipe, head="head", folder=folder)


def state(model: nn.Module, objective: Objective) -> dict[str, Tensor]:
    return {**model.state_dict(), **{f"objective.{n}": t for n, t in objective.module.state_dict().items()}}


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert list(one) == list(two)
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
