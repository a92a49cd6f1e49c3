from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.models.tracing.layout import POSITIONAL, Layout, cast, readings


class Two(nn.Module):
    """Two images, added behind a layer of each; subclasses say how they come."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        out: Tensor = self.head(self.one(a) + self.other(b))
        return out

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.add(a, b)


class OneList(Two):
    def forward(self, images: list[Tensor]) -> Tensor:  # type: ignore[override]
        return self.add(*images)


class OneDictionary(Two):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return self.add(batch["a"], batch["b"])


class Nested(Two):
    def forward(self, batch: Any, options: Any, *, scale: float = 1.0) -> dict[str, Any]:  # type: ignore[override]
        return {"out": scale * self.add(batch["pair"][0], batch["pair"][1]), "name": options, "none": None}


A, B = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (Two, (A, B)),
        (Two, [A, B]),
        (Two, {"b": B, "a": A}),
        (OneList, [A, B]),
        (OneList, ([A, B],)),
        (OneDictionary, {"a": A, "b": B}),
        (OneDictionary, ({"a": A, "b": B},)),
        (Nested, {"batch": {"pair": (A, B)}, "options": "name", "scale": 2.0}),
        (Nested, ({"pair": [A, B]}, None)),
    ],
)
def test_examples_of_every_layout_are_followed_and_checked(model: type[Two], example: Any) -> None:
    net = Supernet.of(model(), example)
    assert [(group.name, group.width) for group in net.groups] == [("one", 6)]
    assert [x.shape for x in net.examples] == [A.shape, B.shape]
    assert net.macs(net.dense) == 36 * (2 * 27 * 6 + 6 * 4)


@pytest.mark.parametrize(
    "example", [torch.zeros(4, 3, 8, 8), [torch.zeros(4, 3, 8, 8)], {"input": torch.zeros(4, 3, 8, 8)}]
)
def test_arguments_are_cut_to_one_image(example: Any) -> None:
    net = Supernet.of(nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)), example)
    assert [x.shape for x in net.examples] == [(1, 3, 8, 8)]


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (np.zeros((1, 3, 8, 8)), r"holds a numpy array; pass a tensor: torch\.from_numpy\(x\)"),
        ((A, np.zeros(3)), r"holds a numpy array; pass a tensor: torch\.from_numpy\(x\)"),
        (None, "example is None; pass a Tensor or a list or a dict"),
        ([], "holds no tensor; pass one"),
        (A.shape, "holds no tensor; pass one"),
        (object(), "example is of type object; pass a Tensor or a list or a dict"),
        ({"a": A, "b": {1, 2}}, "holds a set; pass a tensor"),
    ],
)
def test_anything_but_tensors_is_refused_in_a_line(example: Any, said: str) -> None:
    with pytest.raises(SecateurError, match=said) as error:
        Supernet.of(Two(), example)
    assert "\n" not in str(error.value)


def test_a_network_that_no_reading_fits_is_refused_by_the_first() -> None:
    with pytest.raises(SecateurError, match="does not run on an input of 3x8x8 and 3x8x8"):
        Supernet.of(Two(), {"a": A, "c": B})


@pytest.mark.parametrize("given", [torch.float64, torch.float16])
def test_a_floating_example_takes_the_type_of_the_weights(given: torch.dtype) -> None:
    net = Supernet.of(Two(), (A.to(given), B))
    assert {x.dtype for x in net.examples} == {torch.float32}
    assert [group.name for group in net.groups] == ["one"]


def test_whole_numbers_and_networks_of_several_types_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    assert [x.dtype for x in cast([torch.zeros(1), torch.zeros(1, dtype=torch.int32)], model)] == [
        torch.float32,
        torch.int32,
    ]
    assert cast([torch.zeros(1, dtype=torch.int64)], Two())[0].dtype == torch.int64


def test_tensors_alone_are_positional() -> None:
    (reading,) = readings((A, B))
    assert reading.layout is POSITIONAL
    assert isinstance(readings({"a": A})[0].layout, Layout)
