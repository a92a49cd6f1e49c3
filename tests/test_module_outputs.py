"""The outputs of modules: which channels of them stay, and which of them are looked at."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from equality import images, random_subnetwork, randomised
from structures import GhostNet, OptionA, Res2Net, SplitAttention
from torch import Tensor, nn
from toys import Grouped, Toy

import secateur as sc
from secateur.models.module_outputs import block_ends, feature_maps, kept_channels, outputs_of, stage_ends
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import masked, slim
from secateur.models.tracing.modules import evaluating


def supernet(make: Callable[[], nn.Module], pixels: int = 16) -> Supernet:
    torch.manual_seed(0)
    example = torch.zeros(1, 3, pixels, pixels)
    return Supernet.of(randomised(make(), example).eval(), example, check=False)


def plain() -> nn.Module:
    """Three sizes in one Sequential, with convolutions alone."""
    widths, layers = (3, 6, 8, 5), list[nn.Module]()
    for reads, writes in pairwise(widths):
        layers += [nn.Conv2d(reads, writes, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(nn.Sequential(*layers), nn.Flatten(), nn.Linear(20, 4))


NETWORKS = [OptionA, GhostNet, Res2Net, SplitAttention, Grouped, plain]
NETWORKS += [sc.constructor(name, 10) for name in ("resnet20", "mobilenetv2")]


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: getattr(make, "__name__", "zoo"))
@pytest.mark.parametrize("seed", [0, 1])
def test_the_kept_channels_are_those_that_the_slimmed_network_has(make: Callable[[], nn.Module], seed: int) -> None:
    net = supernet(make)
    subnetwork, maps = random_subnetwork(net, seed), feature_maps(net)
    kept = kept_channels(net, subnetwork, list(maps.values()))
    dense, small = masked(net, subnetwork), slim(net, subnetwork)
    with torch.no_grad(), outputs_of(dense, list(maps)) as whole, outputs_of(small, list(maps)) as narrow:
        for model in (dense, small):
            with evaluating(model):
                model(*images(net, 2))
    assert maps
    assert any(len(kept[name]) < whole[name].shape[1] for name in maps)
    for name in maps:
        expected = whole[name][:, torch.from_numpy(kept[name])]
        torch.testing.assert_close(narrow[name], expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-4)


def test_the_dense_network_keeps_all_channels_of_all_maps() -> None:
    net = supernet(OptionA)
    maps = feature_maps(net)
    for name, channels in kept_channels(net, net.dense, list(maps.values())).items():
        assert np.array_equal(channels, np.arange(len(maps[name].atoms)))


def test_stage_ends_are_the_last_maps_of_each_size() -> None:
    found = stage_ends(feature_maps(supernet(plain)))
    assert [(each.module, each.size) for each in found] == [
        ("0.1", (16, 16)),
        ("0.4", (8, 8)),
        ("0.7", (4, 4)),
        ("0.8", (2, 2)),
    ]
    assert [each.module for each in stage_ends(feature_maps(supernet(OptionA)))] == ["block1", "block2", "block3"]


def test_blocks_are_the_outermost_modules_of_a_chain() -> None:
    net = supernet(sc.constructor("mobilenetv2", 10), 32)
    assert [each.module for each in block_ends(net, feature_maps(net))] == [f"blocks.{i}" for i in range(17)]
    without = supernet(plain)
    ends = stage_ends(maps := feature_maps(without))
    assert [each.module for each in block_ends(without, maps)] == [each.module for each in ends]


class Unfollowed(Toy):
    """Modules whose outputs are no feature map: two tensors, one called twice, one whose size is read off values."""

    def build(self) -> None:
        self.twice, self.split, self.head = nn.ReLU(), Split(), nn.Conv2d(8, 5, 1)

    def middle(self, x: Tensor) -> Tensor:
        one, other = self.split(self.twice(self.twice(x)))
        return torch.as_tensor(one + other)


class Split(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, F.relu(x)


def test_modules_called_twice_or_with_several_outputs_have_no_map() -> None:
    assert set(feature_maps(supernet(Unfollowed))) == {"stem", "norm", "head"}


class Moody(Toy):
    def middle(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def test_a_forward_that_looks_at_values_has_no_maps_and_the_network_stays_as_it_was() -> None:
    net = supernet(Moody)
    assert feature_maps(net) == {}
    assert not any(module._forward_hooks for module in net.model.modules())


def test_hooks_are_gone_afterwards() -> None:
    net = supernet(OptionA)
    feature_maps(net)
    with outputs_of(net.model, ["block1"]) as seen:
        net.model(torch.zeros(2, 3, 16, 16))
    assert seen["block1"].shape == (2, 8, 16, 16)
    assert not any(module._forward_hooks for module in net.model.modules())
