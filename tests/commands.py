"""Lines typed in a folder of images, networks and weights."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from secateur.__main__ import main
from secateur.models.zoo.registry import constructor

Capture = pytest.CaptureFixture[str]
PROGRESS = ("reading images: ", "measuring latency: ")

NETS = """import torch
from torch import nn


def make(classes: int = 10, reads: int = 3) -> nn.Module:
    layers: list[nn.Module] = []
    channels = reads
    for width, stride in ((8, 1), (12, 2)):
        layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def seven() -> nn.Module:
    return make(7)


def grey(classes: int) -> nn.Module:
    return make(classes, reads=1)


def linear(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, classes))


def single(classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, classes, 16), nn.Flatten())


class Misspelt(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.net = make(classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.nett(x)


def lazy(classes: int) -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.Flatten(), nn.LazyLinear(classes))


def gone() -> None:
    raise OSError("disk\\ngone")


def words() -> list[list[tuple[torch.Tensor, str]]]:
    return [[(torch.zeros(3, 16, 16, dtype=torch.uint8), "cat")]] * 3


class Twice(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.net = make(classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.net(x), self.net(x)
"""


def laid_out(folder: Path) -> Path:
    """Images of two classes, whole and broken, networks and their weights."""
    pixels = np.random.default_rng(0)
    (folder / "nets.py").write_text(NETS)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / "photos" / split / name).mkdir(parents=True)
            for number in range(6):
                image = Image.fromarray(pixels.integers(256, size=(16, 16, 3), dtype=np.uint8))
                image.save(folder / "photos" / split / name / f"{number}.png")
    shutil.copytree(folder / "photos", folder / "corrupt")
    broken = folder / "corrupt" / "train" / "cat" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    for split in ("train", "test"):
        (folder / "classless" / split).mkdir(parents=True)
        (folder / "imageless" / split / "cat").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter.txt").write_text("mine")
    for name, classes in (("seven", 2), ("make", 2), ("ten", 10)):
        built = constructor(f"{folder / 'nets.py'}:{'make' if name == 'ten' else name}", classes)()
        save_file(built.state_dict(), folder / f"{name}.safetensors")
    lost = constructor(f"{folder / 'nets.py'}:make", 2)().state_dict()
    lost["0.weight"][0] = torch.nan
    save_file(lost, folder / "lost.safetensors")
    return folder


GOOD = {
    "--data": "imagefolder:photos",
    "--weights": "make.safetensors",
    "--trials": "1",
    "--divisor": "1",
    "--epochs": "1",
    "--out": "never",
    "--device": "cpu",
}


def line(model: str = "nets.py:make", **changed: str | None) -> list[str]:
    """A good ``run``, but for what is changed; None leaves an option out."""
    options: dict[str, str | None] = {**GOOD, **{f"--{name}": value for name, value in changed.items()}}
    return ["run", model, *(word for name, value in options.items() if value is not None for word in (name, value))]


def status(argv: list[str]) -> object:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    return caught.value.code


def told(argv: list[str], capsys: Capture) -> str:
    """What a refused line says on stderr, but for the images read so far."""
    code, said = status(argv), capsys.readouterr()
    assert code == 2
    assert said.out == ""
    (only,) = [each for each in said.err.splitlines() if not each.startswith(PROGRESS)]
    return only
