import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from secateur.errors import SecateurError
from secateur.models.surgery.values import Values

IMAGE = torch.zeros(1, 3, 8, 8)
BOTH = ["first", "second"]


class Ends(nn.Module):
    """Two layers and a head; ``end`` makes the output."""

    def __init__(self, end: Callable[["Ends", Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head, self.end = nn.Conv2d(8, 6, 1), end

    def forward(self, x: Tensor) -> Any:
        return self.end(self, F.relu(self.second(F.relu(self.first(x)))))


def groups(end: Callable[[Ends, Tensor], Any], example: Any = IMAGE) -> list[str]:
    return [group.name for group in sc.Supernet.of(Ends(end).eval(), example).groups]


@dataclass
class Answer:
    logits: Tensor
    note: str = "a word"


def boxes(net: Ends, x: Tensor, threshold: float) -> list[Tensor]:
    """Those of an image's places whose score is high enough, best first."""
    found = net.head(x).flatten(2).mT
    kept = [each[each[:, 0] > threshold] for each in found]
    return [each[each[:, 0].argsort(descending=True)] for each in kept]


@pytest.mark.parametrize(
    "end",
    [
        lambda net, x: net.head(F.dropout(x, 0.5)),
        lambda net, x: torch.normal(net.head(x), net.head(x).exp()),
        lambda net, x: net.head(x) + random.random(),
        lambda net, x: {"logits": net.head(x), "none": None, "deep": [(net.head(x), 3)]},
        lambda net, x: Answer(net.head(x)),
        lambda net, x: [net.head(x)[:0], None],
        lambda net, x: boxes(net, x, 1e6),
        lambda net, x: boxes(net, x, 0.0),
        lambda net, x: boxes(net, x, float(net.head(x)[:, 0].median())),
        lambda net, x: net.head(x).argmax(1),
        lambda net, x: net.head(x) > 0,
        lambda net, x: net.head(x).to(torch.complex64),
        lambda net, x: net.head(x) * torch.inf,
    ],
    ids=[
        "dropout", "normal", "python's random", "dictionary", "object", "empty", "no box",
        "some boxes", "boxes at a threshold", "whole numbers", "truth", "complex", "infinite",
    ],
)  # fmt: skip
def test_whatever_a_network_returns_its_groups_stay(end: Callable[[Ends, Tensor], Any]) -> None:
    assert groups(end) == BOTH


@pytest.mark.parametrize(
    "end",
    [
        lambda net, x: net.head(x) / x.shape[1],
        lambda net, x: boxes(net, x / x.shape[1], 0.0),
        lambda net, x: boxes(net, x / x.shape[1], 1e6),
        lambda net, x: [net.head(x)] * x.shape[1],
        lambda net, x: (net.head(x), net.head(x).flatten()[: 4 * x.shape[1]]),
    ],
    ids=["value", "boxes", "no box", "number", "shape"],
)
def test_a_width_that_matters_freezes_its_group_whatever_is_returned(end: Callable[[Ends, Tensor], Any]) -> None:
    assert groups(end) == ["first"]


def test_outputs_of_varying_length_freeze_the_group_that_varies_them() -> None:
    def rows(net: Ends, x: Tensor) -> tuple[Tensor, Tensor]:
        if float(x.abs().max()) > 1e6:
            raise ValueError("too large")
        return net.head(x), x.permute(0, 2, 3, 1).reshape(-1, 8).norm(dim=1)

    assert groups(rows) == ["first"]


def test_a_network_of_one_image_is_checked_on_one() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.hidden, self.head = nn.Conv2d(3, 6, 3), nn.Linear(216, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(F.relu(self.hidden(torch.flatten(self.stem(x)))))
            return out

    assert [group.name for group in sc.Supernet.of(One(), IMAGE).groups] == ["stem", "hidden"]


class Stepped(nn.Module):
    """An image and a step, which is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)
        self.table, self.project = nn.Embedding(10, 8), nn.Linear(8, 6)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        out: Tensor = self.head(self.stem(x) + self.project(self.table(step))[:, :, None, None])
        return out


@pytest.mark.parametrize("steps", [torch.zeros(1, dtype=torch.int64), torch.tensor([9])])
def test_whole_numbers_that_are_looked_up_stay_in_their_table(steps: Tensor) -> None:
    net = sc.Supernet.of(Stepped(), (IMAGE, steps))
    assert [group.name for group in net.groups] == ["stem"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_are_checked(dtype: torch.dtype) -> None:
    model: Any = Ends(lambda net, x: net.head(x)).eval().to(dtype)
    assert [group.name for group in sc.Supernet.of(model, IMAGE).groups] == BOTH
    model.end = lambda net, x: net.head(x) / x.shape[1]
    assert [group.name for group in sc.Supernet.of(model, IMAGE).groups] == ["first"]


class Shared:
    """A helper that is not copied: hooks of all copies write to one network."""

    def __init__(self) -> None:
        self.net: Any = None

    def __deepcopy__(self, memo: object) -> "Shared":
        return self

    def keep(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self.net.kept["x"] = output


def test_a_copy_that_answers_with_the_networks_own_features_is_refused() -> None:
    def end(net: Any, x: Tensor) -> Tensor:
        return net.head(x) + net.kept["x"].mean((1, 2, 3), keepdim=True)  # type: ignore[no-any-return]

    helper = Shared()
    model: Any = Ends(end).eval()
    helper.net, model.kept, model.helper = model, {}, helper
    model.first.register_forward_hook(helper.keep)
    model(torch.randn(1, 3, 8, 8))
    with pytest.raises(SecateurError, match="a copy of the network answers otherwise than the network itself"):
        sc.Supernet.of(model, IMAGE)


def test_without_inputs_that_run_shapes_must_do() -> None:
    model: Any = Ends(lambda net, x: net.head(x)).eval()
    net = sc.Supernet.of(model, IMAGE)
    values = Values(net)
    assert values.attempt(net.dense) is None
    model.end = lambda net, x: net.nothing
    assert Values(net).attempt(net.dense) is None


def test_a_detector_keeps_its_groups_and_still_detects() -> None:
    detection = pytest.importorskip("torchvision.models.detection")
    torch.manual_seed(0)
    make = detection.ssdlite320_mobilenet_v3_large
    model, images = make(weights=None, weights_backbone=None, num_classes=3).eval(), torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        before = model(images)
    net = sc.Supernet.of(model, images)
    with torch.no_grad():
        after = model(images)
    assert all(torch.equal(a[key], b[key]) for a, b in zip(before, after, strict=True) for key in a)
    assert net.profile().prunable_share > 0.95
