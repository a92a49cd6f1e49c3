"""Inputs of every form that data sets have: what is passed is what the network gets, and it is judged."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import secateur as sc
from secateur.data.images import Images
from secateur.models.evaluate import evaluate
from secateur.pipeline.fit import require_fit


class Listed(Dataset[Any]):
    """Items that a function makes of their number, of two classes, with more than (input, target)."""

    def __init__(self, make: Callable[[int], Any], count: int = 6) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Any, int, str]:
        if number >= self.count:
            raise IndexError(number)
        return self.make(number), number % 2, f"image {number}"


def convolved(kind: type[nn.Module], pool: type[nn.Module], channels: int) -> nn.Module:
    layers = [kind(channels, 6, 3, padding=1), nn.ReLU(), kind(6, 6, 3, padding=1), nn.ReLU(), pool(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(6, 2))


def flat(channels: int) -> nn.Module:
    return convolved(nn.Conv2d, nn.AdaptiveAvgPool2d, channels)


class Pair(nn.Module):
    """Two pictures, by position or by name."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = flat(1), flat(2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        both: Tensor = self.left(left) + self.right(right)
        return both


def noise(number: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(number))


FORMS: list[tuple[Callable[[int], Any], nn.Module, tuple[int, ...]]] = [
    (lambda n: noise(n, 1, 8, 8), flat(1), (1, 8, 8)),
    (lambda n: noise(n, 4, 8, 8), flat(4), (4, 8, 8)),
    (lambda n: noise(n, 12, 8, 8), flat(12), (12, 8, 8)),
    (lambda n: noise(n, 32, 32, 12).numpy(), flat(12), (12, 32, 32)),
    (lambda n: noise(n, 8, 8, 3).double().numpy(), flat(3), (3, 8, 8)),
    (lambda n: noise(n, 2, 20), convolved(nn.Conv1d, nn.AdaptiveAvgPool1d, 2), (2, 20)),
    (lambda n: noise(n, 1, 6, 6, 6), convolved(nn.Conv3d, nn.AdaptiveAvgPool3d, 1), (1, 6, 6, 6)),
    (lambda n: (noise(n, 1, 8, 8), noise(n, 2, 8, 8)), Pair(), (1, 8, 8)),
    (lambda n: {"right": noise(n, 2, 8, 8), "left": noise(n, 1, 8, 8).numpy()}, Pair(), (2, 8, 8)),
    (lambda n: np.full((8, 8, 3), 10 * n, np.uint8), flat(3), (3, 8, 8)),
]


@pytest.mark.parametrize(("make", "model", "shape"), FORMS, ids=[f"{n}-{each[2]}" for n, each in enumerate(FORMS)])
def test_inputs_reach_the_network_as_it_takes_them(
    make: Callable[[int], Any], model: nn.Module, shape: tuple[int, ...]
) -> None:
    data = sc.Data.of(Listed(make), Listed(make), Listed(make))
    assert data.shape == shape
    net = sc.Supernet.of(model.eval(), data.example)
    require_fit(net, data)
    half = sc.slim(net, sc.Subnetwork.first(net.space.min_widths)).eval()
    for network in (model, half):
        assert evaluate(network, data.test).n == 6


def test_bytes_of_other_than_three_channels_are_refused_with_what_to_do() -> None:
    part = TensorDataset(torch.zeros(4, 4, 8, 8, dtype=torch.uint8), torch.arange(4) % 2)
    with pytest.raises(sc.SecateurError, match=r"uint8 .*let the data set's transforms make float tensors"):
        sc.Data.of(part, part, part).train.at(torch.arange(2))


class Words(Dataset[Any]):
    """Items that are dictionaries, as Hugging Face's data sets have them."""

    def __init__(self, *names: str, picture: bool = False) -> None:
        self.names, self.picture = names, picture

    def __len__(self) -> int:
        return 6

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number >= 6:
            raise IndexError(number)
        image = Image.new("RGB", (8, 8), (40 * number, 0, 0)) if self.picture else noise(number, 3, 8, 8)
        return dict(zip(self.names, (image, number % 2, f"image {number}"), strict=False))


@pytest.mark.parametrize("picture", [False, True])
@pytest.mark.parametrize("names", [("image", "label", "id"), ("pixel_values", "labels"), ("img", "target")])
def test_items_that_are_dictionaries_are_taken_apart(names: tuple[str, ...], picture: bool) -> None:
    part = Words(*names, picture=picture)
    data = sc.Data.of(part, part, part)
    batch = next(data.train.batches(6))
    assert batch.images.shape == (6, 3, 8, 8)
    assert batch.labels.tolist() == (batch.indices % 2).tolist()


def test_dictionaries_of_other_names_are_refused_with_theirs() -> None:
    part = Words("photo", "age")
    with pytest.raises(sc.SecateurError, match=r"items are dictionaries of photo, age; let each be \(input, target\)"):
        sc.Data.of(part, part, part)


def test_a_loader_of_dictionaries_has_the_classes_that_its_collate_function_makes() -> None:
    def collate(items: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        return torch.stack([item["photo"] for item in items]), torch.tensor([2 - item["kind"] for item in items])

    loader = DataLoader(Words("photo", "kind"), 4, collate_fn=collate)
    data = sc.Data.of(loader, loader, loader)
    batch = next(data.train.batches(4))
    assert batch.images.shape == (4, 3, 8, 8)
    assert batch.labels.tolist() == (2 - batch.indices % 2).tolist()


def test_numbers_of_sixteen_bits_are_refused_as_bytes_are() -> None:
    part = [(np.zeros((32, 32, 12), np.uint16), number % 2) for number in range(4)]
    with pytest.raises(sc.SecateurError, match=r"an input is of type uint16 \(12, 32, 32\); let .* make float tensors"):
        _ = sc.Data.of(part, part, part).example


class Mirrored(Words):
    """Pictures with a random transform of their own."""

    def __getitem__(self, number: int) -> Any:
        item = super().__getitem__(number)
        image = item["image"]
        image.putpixel((0, 0), (255, 255, 255))
        return (ImageOps.mirror(image) if random.random() < 0.5 else image), item["label"]


def test_random_transforms_of_pictures_are_the_augmentation_and_not_drawn_once() -> None:
    part = Mirrored("image", "label", picture=True)
    data = sc.Data.of(part, part, part)
    views = torch.stack([next(data.train.batches(6, view=number)).images for number in range(8)])
    assert all(len({str(view.tolist()) for view in views[:, number]}) == 2 for number in range(6))
    again = next(data.train.batches(6, view=3)).images
    assert torch.equal(again, views[3])
    assert data.classes == ("0", "1")
    quiet = Words("image", "label", picture=True)
    assert isinstance(sc.Data.of(quiet, quiet, quiet).train, Images)
