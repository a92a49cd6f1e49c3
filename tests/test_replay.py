import numpy as np
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.models.tracing.trace import trace


class Counted(nn.Module):
    """A convolution that counts its calls."""

    def __init__(self, made: int) -> None:
        super().__init__()
        self.layer, self.calls = nn.Conv2d(8 if made == 6 else 3, made, 3, padding=1), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.layer(x)
        return out


class Tutored(nn.Module):
    """A second head that only training runs, on the trunk's output or on a sum with something else.

    ``other`` gives the trunk a tensor of its own in training.
    """

    def __init__(self, other: bool = False, added: bool = False) -> None:
        super().__init__()
        self.stem, self.trunk, self.beside = Counted(8), Counted(6), nn.Conv2d(8, 6, 1)
        self.head, self.second = nn.Linear(6, 4), nn.Linear(6, 4)
        self.other, self.added = other, added

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        stem = self.stem(x)
        trunk = self.trunk(stem.clone() if self.other and self.training else stem)
        logits: Tensor = self.head(trunk.mean((2, 3)))
        if not self.training:
            return logits
        return logits, self.second((trunk + self.beside(stem) if self.added else trunk).mean((2, 3)))


def calls(net: Tutored) -> tuple[int, int]:
    trace(net, torch.zeros(1, 3, 8, 8))
    return net.stem.calls, net.trunk.calls


def test_what_evaluation_has_settled_is_not_run_again() -> None:
    assert calls(Tutored()) == (1, 1)


def test_a_child_that_training_gives_something_else_runs_again() -> None:
    assert calls(Tutored(other=True)) == (1, 2)


def test_ties_of_training_are_found_across_spared_children() -> None:
    net = sc.Supernet.of(Tutored(added=True), torch.zeros(1, 3, 8, 8))
    (summed,) = (group for group in net.groups if group.name == "trunk.layer")
    assert {m.tensor for m in summed.members if m.reads} == {"head.weight", "second.weight"}
    assert {m.tensor for m in summed.members if not m.reads} == {
        "trunk.layer.weight", "trunk.layer.bias", "beside.weight", "beside.bias",
    }  # fmt: skip
    assert {group.name for group in net.frozen} == {"head", "second"}


def test_costs_are_those_of_one_image_in_evaluation() -> None:
    net = sc.Supernet.of(Tutored(), torch.zeros(1, 3, 8, 8))
    (macs,) = net.space.costs.macs(np.array([net.space.dense]))
    assert macs == 64 * 9 * (3 * 8 + 8 * 6) + 6 * 4


def test_forwards_are_as_they_were() -> None:
    net = Tutored()
    mine = net.stem.forward
    net.stem.__dict__["forward"] = mine  # as some libraries wrap a layer
    trace(net, torch.zeros(1, 3, 8, 8))
    assert net.stem.__dict__["forward"] is mine
    assert not any("forward" in child.__dict__ for child in (net.trunk, net.head, net.second))
