"""How a network is called, as architecture.json holds it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.errors import SecateurError
from secateur.models.files.arguments import example_of, plain_arguments, plain_dtypes, shapes_in
from secateur.models.files.schema import Architecture


class Base(nn.Module):
    """Two convolutions and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3), nn.Linear(8, 4)

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(x).relu()).relu().mean((2, 3))
        return found


class Keyword(Base):
    def forward(self, x: Tensor, *, scale: float) -> Tensor:
        out: Tensor = self.head(self.features(x)) * scale
        return out


class Keyed(Base):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        out: Tensor = self.head(self.features(batch["image"]))
        return out


class Nested(Base):
    def forward(self, paths: list[Tensor], settings: tuple[int, str]) -> Tensor:
        out: Tensor = self.head(self.features(paths[0]) + self.features(paths[1])) * settings[0]
        return out


class Stepped(Base):
    """Its second input are whole numbers, looked up in a table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(x) + self.table(step))
        return out


class Pictures(Base):
    """A list of pictures without a batch, each of three dimensions."""

    def forward(self, pictures: list[Tensor]) -> Tensor:
        out: Tensor = self.head(self.features(torch.stack(pictures)))
        return out


IMAGE = torch.randn(1, 3, 8, 8)
CALLS: list[tuple[Callable[[], nn.Module], Any]] = [
    (Keyword, {"x": IMAGE, "scale": 0.5}),
    (Keyed, {"image": IMAGE}),
    (Nested, ([IMAGE, IMAGE + 1], (2, "name"))),
    (Stepped, (IMAGE, torch.tensor([3]))),
    (Pictures, [[torch.randn(3, 8, 8), torch.randn(3, 8, 8)]]),
]


@pytest.mark.parametrize(("make", "example"), CALLS, ids=lambda each: getattr(each, "__name__", ""))
def test_a_network_is_loaded_however_it_is_called(make: Callable[[], nn.Module], example: Any, tmp_path: Path) -> None:
    net = sc.Supernet.of(make(), example)
    slim = sc.slim(net, sc.Subnetwork.first(net.space.dense // 2)).eval()
    sc.save(slim, tmp_path)
    loaded = sc.load(tmp_path, base=make)
    with torch.no_grad():
        assert torch.equal(net.run(loaded), net.run(slim))


@pytest.mark.parametrize(("make", "example"), CALLS, ids=lambda each: getattr(each, "__name__", ""))
def test_what_is_written_makes_an_example_of_its_shapes_and_types(make: Callable[[], nn.Module], example: Any) -> None:
    net = sc.Supernet.of(make(), example, check=False)
    record = Architecture.of(net, net.dense)
    again = sc.Supernet.of(make(), example_of(record.arguments, record.inputs, record.dtypes), check=False)
    assert [(x.shape, x.dtype) for x in again.examples] == [(x.shape, x.dtype) for x in net.examples]
    assert (plain_arguments(again), plain_dtypes(again)) == (plain_arguments(net), plain_dtypes(net))


def test_images_one_after_the_other_are_written_as_ever() -> None:
    net = sc.Supernet.of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), IMAGE)
    assert Architecture.of(net, net.dense).to_dict().keys().isdisjoint({"arguments", "dtypes"})


TENSOR = {"tensor": [1, 3, 8, 8]}
PAIR = {"tuple": [{"tuple": [TENSOR]}, {"dict": {}}]}


def nested(times: int) -> Any:
    found: Any = TENSOR
    for _ in range(times):
        found = {"list": [found]}
    return {"tuple": [{"tuple": [found]}, {"dict": {}}]}


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {"tuple": [{"tuple": []}, {"dict": {}}]}},
        {"arguments": {"tuple": [{"tuple": [{"tensor": [1, 3, 9, 9]}]}, {"dict": {}}]}},
        {"arguments": {"tuple": [{"list": [TENSOR]}, {"dict": {}}]}},
        {"arguments": {"tuple": [{"tuple": [TENSOR]}]}},
        {"arguments": {"tensor": [1, 3, 8, 8]}},
        {"arguments": {"tuple": [{"tuple": [{"tensor": "x"}]}, {"dict": {}}]}},
        {"arguments": {"tuple": [{"tuple": [{"object": []}]}, {"dict": {}}]}},
        {"arguments": {"tuple": [{"tuple": [{"tensor": [10**9, 3, 8, 8]}]}, {"dict": {}}]}},
        {"arguments": nested(100)},
        {"dtypes": ["float32", "float32"]},
        {"dtypes": ["object"]},
    ],
    ids=range(11),
)
def test_other_arguments_and_types_are_refused_in_a_line(change: dict[str, Any]) -> None:
    net = sc.Supernet.of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), IMAGE, check=False)
    record = Architecture.of(net, net.dense).to_dict()
    assert Architecture.from_dict({**record, "arguments": PAIR}, "here").arguments == PAIR
    with pytest.raises(SecateurError, match="here has a missing or broken value") as error:
        Architecture.from_dict({**record, **change}, "here")
    assert "\n" not in str(error.value)


def test_shapes_stand_in_the_order_of_the_arguments() -> None:
    assert list(shapes_in({"dict": {"a": {"list": [{"tensor": [2]}, 3]}, "b": {"tensor": []}}})) == [[2], []]
