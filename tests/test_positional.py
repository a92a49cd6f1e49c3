"""Networks of several inputs and outputs are files that answer as they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.deploy.formats import TOLERANCE, export_as
from secateur.deploy.positional import Positional
from secateur.models.timing.onnx_file import onnx_session


class Heads(nn.Module):
    """Two inputs, two heads of different shapes, in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(2, 6, 3, padding=1)
        self.mask, self.kind = nn.Conv2d(6, 3, 1), nn.Linear(6, 4)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        x = (self.left(left) + self.right(right)).relu()
        return {"mask": self.mask(x), "kind": self.kind(x.mean((2, 3)))}


class Pyramid(nn.Module):
    """Three scales in a list, as detectors have it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x).relu()
        return [self.head(nn.functional.avg_pool2d(x, 2**n)) for n in range(3)]


LEFT, RIGHT = torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, 8, 8)
CASES: list[tuple[nn.Module, Any, list[str], list[str]]] = [
    (Heads(), {"right": RIGHT, "left": LEFT}, ["right", "left"], ["mask", "kind"]),
    (Heads(), (LEFT, RIGHT), ["images_0", "images_1"], ["mask", "kind"]),
    (Pyramid(), torch.zeros(1, 3, 8, 8), ["images"], ["output_0", "output_1", "output_2"]),
    (nn.Conv3d(1, 2, 3), (1, 5, 5, 5), ["images"], ["logits"]),
]


@pytest.mark.parametrize(("model", "inputs", "reads", "makes"), CASES, ids=["keywords", "tuple", "scales", "volume"])
def test_every_output_is_in_the_file_and_checked(
    model: nn.Module, inputs: Any, reads: list[str], makes: list[str], tmp_path: Path
) -> None:
    done = export_as(model, inputs, tmp_path / "model.onnx", {})
    assert done.difference <= TOLERANCE
    graph = onnx.load(done.path).graph
    assert [each.name for each in graph.input] == reads
    assert [each.name for each in graph.output] == makes
    assert export_as(model, inputs, tmp_path / "model.pt2", {}).difference <= TOLERANCE


def test_outputs_come_in_order_for_any_batch(tmp_path: Path) -> None:
    model = Heads().eval()
    path = export_as(model, (LEFT, RIGHT), tmp_path / "model.onnx", {}).path
    left, right = torch.randn(5, 1, 8, 8), torch.randn(5, 2, 8, 8)
    with torch.no_grad():
        expected = model(left, right)
    mask, kind = onnx_session(path)(left, right)
    torch.testing.assert_close(mask, expected["mask"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(kind, expected["kind"], atol=1e-5, rtol=1e-4)


def test_a_network_of_one_tensor_is_written_as_it_is() -> None:
    model = nn.Conv2d(3, 4, 3)
    assert Positional.of(model, torch.zeros(1, 3, 8, 8)).network is model


def test_a_slim_network_of_two_heads_is_exported(tmp_path: Path) -> None:
    net = sc.Supernet.of(Heads().eval(), {"left": LEFT, "right": RIGHT})
    sc.save(sc.slim(net, sc.Subnetwork.first(net.space.min_widths)), tmp_path)
    found = sc.export(tmp_path, "onnx", base=Heads)
    assert "and 1 more" in str(found)
