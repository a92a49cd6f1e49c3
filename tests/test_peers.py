"""The peers of benchmarks/peers.py choose channels and compensate for them as their descriptions say."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sc
from secateur.models.compensation.gram import grams
from secateur.models.subnetwork import Subnetwork
from secateur.models.surgery.slim import slim

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
WHOLE = ("conv1", "layer2.0.conv2", "layer3.0.conv2")  # the groups of ResNet-20 that torch-pruning cannot follow


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def doubled() -> nn.Sequential:
    """Two convolutions; the last four channels of the first are the first four again."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 3, padding=1))
    with torch.no_grad():
        for tensor in model[0].parameters():
            tensor[4:] = tensor[:4]
    return model.eval()


def test_grail_rebuilds_removed_channels_that_kept_ones_determine(peer: Any) -> None:
    torch.manual_seed(0)
    net, images = sc.Supernet.of(doubled(), torch.zeros(1, 3, 8, 8)), torch.randn(16, 3, 8, 8)
    data = sc.open_data("digits", (3, 8, 8))
    half = Subnetwork(((0, 1, 2, 3),))
    rebuilt = peer("grail").grail(net, half, grams(net, data.train, 50))
    with torch.no_grad():
        dense, gap = net.model(images), (rebuilt(images) - net.model(images)).norm()
        raw = (slim(net, half)(images) - dense).norm()
    assert gap < 0.02 * dense.norm()
    assert gap < 0.05 * raw


def test_grail_merges_every_place_of_a_kernel_alike(peer: Any) -> None:
    torch.manual_seed(0)
    net, data = sc.Supernet.of(doubled(), torch.zeros(1, 3, 8, 8)), sc.open_data("digits", (3, 8, 8))
    known = grams(net, data.train, 50)
    rebuilt = peer("grail").grail(net, Subnetwork(((0, 2, 5),)), known)
    gram = peer("grail").channel_gram(known["2.weight"], 8).double()
    kept = torch.tensor([0, 2, 5])
    ridge = 1e-3 * gram[kept, kept].mean() * torch.eye(3)
    merge = gram[:, kept] @ torch.linalg.inv(gram[kept][:, kept] + ridge)  # (8, 3)
    expected = torch.einsum("ochw,ck->okhw", dict(net.model.named_parameters())["2.weight"].double(), merge)
    torch.testing.assert_close(rebuilt[2].weight.double(), expected, rtol=1e-3, atol=1e-4)


def test_knapsack_pays_for_worth_by_the_mac(peer: Any) -> None:
    """The first group is read at four times as many places as the second: at equal worth it is cut first."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)
    )
    net = sc.Supernet.of(model.eval(), torch.zeros(1, 3, 8, 8))
    scores = [1 + np.arange(group.width) / 100 for group in net.groups]
    widths = peer("peer_widths").knapsack_widths(net.space, net.budget("60%"), scores)
    assert net.space.costs.macs(widths) <= net.budget("60%").macs
    assert widths[0] < 8
    assert widths[-1] == 8


@pytest.mark.parametrize(("criterion", "scope"), [("l1", "local"), ("taylor", "isomorphic")])
def test_torch_pruning_is_cut_to_the_budget_and_leaves_residual_stages_whole(
    peer: Any, criterion: str, scope: str
) -> None:
    torch.manual_seed(0)
    data = sc.open_data("digits", (3, 8, 8))
    net = sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example, check=False)
    choose = peer("peer_widths").torch_pruning
    kept = choose(net, data, "50%", criterion=criterion, scope=scope)
    assert 0.98 < net.macs(kept) / net.budget("50%").macs <= 1
    assert all(len(kept.kept[i]) == group.width for i, group in enumerate(net.groups) if group.name in WHOLE)
    assert slim(net, kept)(data.example).shape == (1, 10)
