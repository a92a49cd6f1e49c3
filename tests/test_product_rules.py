import numpy as np
import pytest
import torch
from test_rules import Net, found, reason
from torch import nn

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


def test_a_grouped_transposed_convolution_freezes_what_it_reads_and_makes() -> None:
    net = Net(lambda x: net.extra(x), 6)
    net.extra = nn.Sequential(nn.ConvTranspose2d(8, 12, 2, 2, groups=2), nn.Conv2d(12, 6, 1))
    result = found(net)
    assert [group.name for group in result.groups] == ["extra.1"]
    assert {reason(result, "stem"), reason(result, "extra.0")} == {"goes through a grouped transposed convolution"}
