"""A small network, images and three teachers of a bank."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.images import Images
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.transfer.bank.bank import MemoryBank, open_bank
from secateur.transfer.bank.fill import fill_bank
from secateur.transfer.bank.manifest import BankLocation, Teacher


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv, self.norm2 = nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.drop, self.head = nn.Dropout(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm2(self.conv(F.relu(self.norm(self.stem(x))))))
        return torch.as_tensor(self.head(self.drop(x.mean((2, 3)))))


def toy(model: nn.Module | None = None) -> Supernet:
    torch.manual_seed(0)
    return Supernet.of((model or Toy()).train(), torch.zeros(1, 3, 8, 8))


def noise(count: int = 90, seed: int = 0) -> Images:
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Images(lambda chunks: (pixels[chunk] for chunk in chunks), torch.arange(count) % 4, (3, 8, 8))


DENSE = Subnetwork((tuple(range(6)), tuple(range(8))))
HALF = Subnetwork(((0, 2, 5), (1, 3, 4, 6)))
THIN = Subnetwork(((4,), (0, 7)))
TEACHERS = (Teacher(DENSE, 0.5, 300), Teacher(HALF, 0.75, 200), Teacher(THIN, 1.0, 100))


def fill(
    folder: Path, split: Images | None = None, net: Supernet | None = None, data: str = "abc", **other: Any
) -> list[int]:
    return list(fill_bank(net or toy(), TEACHERS, split or noise(), BankLocation(folder, data), grams={}, **other))


def opened(folder: Path, **other: Any) -> MemoryBank:
    fill(folder, **other)
    return open_bank(BankLocation(folder, "abc"), 90)
