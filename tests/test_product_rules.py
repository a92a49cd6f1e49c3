from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from equality import assert_slims, doubled, gaps, images, in_double, random_subnetwork
from test_reference import supernet
from test_rules import Net, found, reason
from torch import Tensor, nn

from secateur.models.supernet import Supernet
from secateur.models.tracing.trace import trace


def test_the_products_of_a_part_that_is_not_understood_are_counted_all_the_same() -> None:
    net = Net(lambda x: net.extra(x.cumsum(1).flatten(2) @ x.new_ones(64, 64)).view(1, 8, 8, 8))
    net.extra = nn.Identity()
    traced = trace(net, torch.zeros(1, 3, 8, 8))
    assert [product.scale * len(product.rows) * len(product.columns) for product in traced.products] == [
        64 * 9 * 3 * 8,
        8 * 64 * 64,
        64 * 8 * 5,
    ]


def test_linear_layers_over_the_last_dimension_are_followed() -> None:
    net = Net(lambda x: net.extra(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), 6)
    net.extra = nn.Linear(8, 6, bias=False)
    assert [(group.name, group.width) for group in found(net).groups] == [("stem", 8), ("extra", 6)]


@pytest.mark.parametrize("groups", [2, 4])
def test_a_grouped_convolution_keeps_the_same_positions_in_every_group(groups: int) -> None:
    net = Net(lambda x: net.extra(x), 12)
    net.extra = nn.Conv2d(8, 12, 1, groups=groups)
    stem, made = found(net).groups
    assert (stem.width, made.width) == (8 // groups, 12 // groups)
    filters = next(member for member in stem.members if member.tensor == "stem.weight")
    assert filters.where(np.array([0])).tolist() == list(range(0, 8, 8 // groups))


def test_a_depthwise_convolution_makes_no_group_of_its_own() -> None:
    net = Net(lambda x: net.extra(x), 16)
    net.extra = nn.Conv2d(8, 16, 3, groups=8)
    (group,) = found(net).groups
    head = next(member for member in group.members if member.tensor == "head.weight")
    assert head.where(np.array([3])).tolist() == [6, 7]


@pytest.mark.parametrize("groups", [3, 1])
def test_filters_of_a_grouped_convolution_over_the_image_stay(groups: int) -> None:
    net = Net(lambda x: x, 8)
    net.stem = nn.Conv2d(3, 9, 1, groups=groups)
    net.head = nn.Conv2d(9, 5, 1)
    result = found(net)
    if groups == 1:
        assert [group.width for group in result.groups] == [9]
    else:
        assert reason(result, "stem") == "goes through a grouped convolution of channels that stay"


def test_a_grouped_transposed_convolution_keeps_the_same_positions_in_every_group() -> None:
    net = Net(lambda x: net.extra(x), 6)
    net.extra = nn.Sequential(nn.ConvTranspose2d(8, 12, 2, 2, groups=2), nn.Conv2d(12, 6, 1))
    assert {group.name: group.width for group in found(net).groups} == {"stem": 4, "extra.0": 6, "extra.1": 6}


@pytest.mark.parametrize("groups", [2, 8])
@pytest.mark.parametrize("filters", [8, 16])
def test_grouped_transposed_convolutions_slim_rightly(groups: int, filters: int) -> None:
    middle = nn.Sequential(nn.ConvTranspose2d(8, filters, 4, 2, 1, groups=groups), nn.Conv2d(filters, 8, 1))
    assert_slims(supernet(middle))


class ByProducts(nn.Module):
    """``kind`` of a product of activations over channels, between two convolutions."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(8, 12, 1) for _ in range(3))
        self.back, self.kind = nn.Conv2d(12, 8, 1), kind

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).flatten(2).mT for layer in (self.query, self.key, self.value))
        if self.kind == "plain":
            mixed = (q @ k.mT).softmax(-1) @ v
        elif self.kind == "scaled":
            mixed = F.scaled_dot_product_attention(q, k, v)
        elif self.kind == "heads":
            q, k, v = (each.unflatten(2, (3, -1)).transpose(1, 2) for each in (q, k, v))
            mixed = ((q @ k.mT) * q.shape[-1] ** -0.5).softmax(-1) @ v
            mixed = mixed.transpose(1, 2).flatten(2)
        elif self.kind == "folded":
            q, k, v = (each.mT.reshape(len(x) * 3, -1, each.shape[1]) for each in (q, k, v))
            mixed = (v @ (q.mT @ k).softmax(-1)).reshape(len(x), -1, x.shape[2] * x.shape[3]).mT
        else:
            mixed = q @ (F.normalize(k, dim=1).mT @ v)
        out: Tensor = x + self.back(mixed.mT.reshape(len(x), -1, *x.shape[2:]))
        return out


@pytest.mark.parametrize("kind", ["plain", "scaled", "heads", "folded", "linear"])
def test_channels_that_meet_in_a_product_of_activations_go_together(kind: str) -> None:
    net = supernet(ByProducts(kind))
    widths = {group.name: group.width for group in net.groups}
    assert widths == {"first": 6, "second": 8} | {
        f"middle.{name}": 4 if kind in ("heads", "folded") else 12 for name in ("query", "value")
    }
    assert_slims(net)


class Likeness(nn.Module):
    """Two images by one body, compared by ``measure``."""

    def __init__(self, measure: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3))
        self.measure = measure

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.measure(self.body(x).mean((2, 3)), self.body(y).mean((2, 3)))


@pytest.mark.parametrize("measure", [F.cosine_similarity, F.pairwise_distance, lambda a, b: (a * b).sum(1)])
def test_an_embedding_that_is_only_compared_can_be_narrowed(measure: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    net = Supernet.of(Likeness(measure).eval(), (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)))
    assert [group.width for group in net.groups] == [8, 12]
    assert_slims(net)


@pytest.mark.parametrize("offset_groups", [1, 2])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_deformable_convolutions_slim_rightly_and_cost_what_plain_ones_do(groups: int, offset_groups: int) -> None:
    deform_conv2d = pytest.importorskip("torchvision.ops").deform_conv2d

    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offset = nn.Conv2d(8, 18 * offset_groups, 3, padding=1)
            self.taps = nn.Conv2d(8, 8, 3, padding=1, groups=groups)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = deform_conv2d(x, self.offset(x), self.taps.weight, self.taps.bias, padding=1)
            return out

    net = supernet(Deformed())
    assert [group.name for group in net.groups] == ["first", "second"] + ["middle.taps"] * (groups < 8)
    assert "is a place in space" in str(reason(net.grouping, "middle.offset"))
    pixels = 8 * 8
    assert sum(p.scale * len(p.rows) * len(p.columns) for p in net.trace.products if "taps" in p.tensor) == (
        pixels * 8 * 8 * 9 // groups
    )
    subnetwork, inputs = random_subnetwork(net, 1), images(net, 2)
    assert max(gaps(in_double(net), subnetwork, doubled(inputs))) < 1e-9


class Decoder(nn.Module):
    """A linear layer whose outputs are maps; ``after`` comes before the convolution."""

    def __init__(self, after: nn.Module) -> None:
        super().__init__()
        self.linear, self.after, self.up = nn.Linear(7, 6 * 12), after, nn.ConvTranspose2d(6, 5, 2, 2)
        self.out = nn.Conv2d(5, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.up(self.after(self.linear(x).view(len(x), self.up.in_channels, 4, 3))).relu())
        return out


@pytest.mark.parametrize("after", [nn.BatchNorm2d(6), nn.ReLU(), nn.Upsample(scale_factor=2), nn.AvgPool2d(2)], ids=str)
def test_outputs_of_a_linear_layer_laid_out_as_maps_are_blocks_of_channels(after: nn.Module) -> None:
    torch.manual_seed(0)
    net = Supernet.of(Decoder(after).eval(), torch.zeros(1, 7))
    assert [(group.name, group.width) for group in net.groups] == [("linear", 6), ("up", 5)]
    assert_slims(net)
