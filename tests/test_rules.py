"""What each operation does to the channels that go through it: they can still go, or they stay and it says why."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.models.tracing.groups import Grouping, grouping
from secateur.models.tracing.trace import trace

POINTWISE: list[nn.Module] = [
    nn.ReLU(), nn.ReLU(True), nn.ReLU6(), nn.ReLU6(True), nn.SiLU(), nn.SiLU(True), nn.Hardswish(),
    nn.Hardswish(True), nn.Hardsigmoid(), nn.Hardsigmoid(True), nn.GELU(), nn.GELU("tanh"), nn.Mish(), nn.Mish(True),
    nn.ELU(), nn.ELU(inplace=True), nn.SELU(), nn.CELU(), nn.LeakyReLU(), nn.LeakyReLU(inplace=True), nn.Softplus(),
    nn.Sigmoid(), nn.Tanh(), nn.Hardtanh(), nn.PReLU(), nn.PReLU(8), nn.Dropout(), nn.Dropout2d(), nn.Identity(),
]  # fmt: skip
SPATIAL: list[nn.Module] = [
    nn.MaxPool2d(2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2), nn.Upsample(scale_factor=2), nn.ZeroPad2d(1),
    nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1), nn.ReplicationPad2d(1),
    nn.InstanceNorm2d(8), nn.InstanceNorm2d(8, affine=True), nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False),
    nn.LPPool2d(2, 2),
]  # fmt: skip
MIXING: list[tuple[nn.Module, int, str]] = [  # the module, how many channels it makes of 8, why they stay
    (nn.Softmax(1), 8, "aten._softmax"), (nn.LocalResponseNorm(3), 8, "lies in space where aten.avg_pool3d works"),
    (nn.LayerNorm([8, 8, 8]), 8, "is normalised over without a weight of its own"),
    (nn.GroupNorm(2, 8, affine=False), 8, "is normalised over without a weight of its own"),
]  # fmt: skip


class Net(nn.Module):
    """A stem of 8 filters, ``between``, and a head that reads ``made`` channels."""

    def __init__(self, between: Callable[[Tensor], Tensor], made: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.between = between
        self.head = nn.Conv2d(made, 5, 1)
        self.extra: nn.Module = nn.Identity()  # what ``between`` may call

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.between(self.stem(x)))
        return out


def found(model: nn.Module) -> Grouping:
    return grouping(trace(model, torch.zeros(1, 3, 8, 8)))


def reason(grouping: Grouping, name: str) -> str | None:
    """Why a group is frozen."""
    return next(group.frozen for group in grouping.frozen if group.name == name)


@pytest.mark.parametrize("between", [*POINTWISE, *SPATIAL], ids=str)
def test_channels_go_through_activations_poolings_paddings_and_norms(between: nn.Module) -> None:
    result = found(Net(between))
    assert [(group.name, group.width) for group in result.groups] == [("stem", 8)]
    assert [group.name for group in result.frozen] == ["head"]


@pytest.mark.parametrize(("between", "made", "why"), MIXING, ids=str)
def test_channels_stay_where_an_operation_mixes_them_or_is_not_understood(
    between: nn.Module, made: int, why: str
) -> None:
    result = found(Net(between, made))
    assert result.groups == ()
    assert why in str(reason(result, "stem"))


@pytest.mark.parametrize(
    ("between", "why"),
    [
        (lambda x: x * x.sum(), "is reduced over by aten.sum"),
        (lambda x: x * x.sum(dim=()), "is reduced over by aten.sum"),
        (lambda x: x * x.amax((1, 2, 3), keepdim=True), "is reduced over by aten.amax"),
        (lambda x: x.cumsum(1), "aten.cumsum, which is not understood"),
        (lambda x: x[:, torch.arange(8)], "aten.index, which is not understood"),
        (lambda x: x.new_zeros(x.shape) + x, "meets a tensor of a fixed size that forward makes"),
        (lambda x: x + torch.zeros(1, 8, 1, 1, device=x.device), "meets a tensor of a fixed size that forward makes"),
        (lambda x: F.avg_pool2d(x.flatten(2), 3, 1, 1).unsqueeze(-1), "lies in space where aten.avg_pool2d works"),
        (lambda x: (x.flatten(2) @ x.flatten(2).mT @ x.flatten(2)).view_as(x), "in a product of activations"),
    ],
)
def test_channels_stay_where_an_expression_needs_all_of_them(between: Callable[[Tensor], Tensor], why: str) -> None:
    result = found(Net(between))
    assert result.groups == ()
    assert why in str(reason(result, "stem"))


@pytest.mark.parametrize(
    "between",
    [
        lambda x: x + x.mean((2, 3), keepdim=True),
        lambda x: x * x.amax((-1, -2), keepdim=True),
        lambda x: x[:, :, 1:-1, ::2],
        lambda x: x[:, 0:8],
        lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        lambda x: x.flatten(2).unsqueeze(-1).transpose(2, 3),
        lambda x: torch.cat([x, x.relu()], 2),
        lambda x: F.pad(x, (1, 1, 2, 0)),
        lambda x: torch.where(x > 0, x, x * 0.1),
        lambda x: x.add_(1).mul_(2),
        lambda x: x + torch.zeros_like(x),
        lambda x: x.repeat(1, 1, 2, 1),
        lambda x: x * torch.linspace(0, 1, x.shape[-1], device=x.device),
        lambda x: x.reshape(1, 8, 8, 4, 2).mean(-1),
        lambda x: F.normalize(x, dim=-1),
        lambda x: x - x.var((2, 3), keepdim=True),
        lambda x: x.max(-1, keepdim=True)[0] + x,
        lambda x: torch.stack([x, -x], 1).sum(1),
        lambda x: (torch.stack([x, -x]).softmax(0) * x).mean(0),
        lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
        lambda x: x * x.new_full((1, 1, 8, 8), 2.0),
        lambda x: F.max_pool3d(x.unsqueeze(-1), (3, 3, 1), 1, (1, 1, 0)).squeeze(-1),
    ],
)
def test_channels_go_through_expressions_that_treat_them_alike(between: Callable[[Tensor], Tensor]) -> None:
    result = found(Net(between))
    assert [(group.name, group.width) for group in result.groups] == [("stem", 8)]


@pytest.mark.parametrize(
    "norm",
    [
        lambda x: x - x.mean(1, keepdim=True),
        lambda x: x / x.std(1, keepdim=True),
        lambda x: F.normalize(x),
        lambda x: (x - x.mean((1, 2, 3), keepdim=True)) * torch.rsqrt(x.var((1, 2, 3), keepdim=True)),
    ],
)
def test_a_norm_that_forward_writes_out_is_marked(norm: Callable[[Tensor], Tensor]) -> None:
    result = found(Net(norm))
    assert [(group.name, group.width, group.normed) for group in result.groups] == [("stem", 8, True)]
    assert not found(Net(lambda x: x - x.mean((2, 3), keepdim=True))).groups[0].normed


def test_channels_that_meet_are_tied_and_a_repeated_channel_is_one() -> None:
    twice = found(Net(lambda x: torch.cat([x, x], 1), 16))
    (group,) = twice.groups
    head = next(member for member in group.members if member.tensor == "head.weight")
    assert head.where(np.array([2, 5])).tolist() == [2, 5, 10, 13]


def test_a_gated_linear_unit_keeps_its_halves_equal() -> None:
    (group,) = found(Net(lambda x: F.glu(x, 1), 4)).groups
    stem, head = (next(m for m in group.members if m.tensor == f"{name}.weight") for name in ("stem", "head"))
    assert group.width == 4
    assert [stem.where(np.array([1])).tolist(), head.where(np.array([1])).tolist()] == [[1, 5], [1]]


def test_stacked_tensors_are_tied_channel_by_channel() -> None:
    net = Net(lambda x: torch.stack([x, net.extra(x)], 1).sum(1))
    net.extra = nn.Conv2d(8, 8, 1)
    assert [(group.name, group.width) for group in found(net).groups] == [("stem", 8)]


def test_parts_of_channels_that_are_summed_stay_equal() -> None:
    net = Net(lambda x: x.view(1, 2, 4, 8, 8).sum(1), 4)
    (group,) = found(net).groups
    assert group.width == 4
    apart = found(Net(lambda x: torch.cat(x.view(1, 2, 4, 8, 8).unbind(1)[::-1], 1)))
    assert [group.width for group in apart.groups] == [4]


def test_unfolded_patches_are_neighbouring_places_of_their_channel() -> None:
    (group,) = found(Net(lambda x: F.unfold(x, 3, padding=1).view(1, 72, 8, 8), 72)).groups
    head = next(member for member in group.members if member.tensor == "head.weight")
    assert head.where(np.array([2])).tolist() == list(range(18, 27))


def test_the_products_of_a_part_that_is_not_understood_are_counted_all_the_same() -> None:
    net = Net(lambda x: net.extra(x.cumsum(1).flatten(2) @ x.new_ones(64, 64)).view(1, 8, 8, 8))
    net.extra = nn.Identity()
    atoms = trace(net, torch.zeros(1, 3, 8, 8))
    assert [product.scale * len(product.rows) * len(product.columns) for product in atoms.products] == [
        64 * 9 * 3 * 8,
        8 * 64 * 64,
        64 * 8 * 5,
    ]


def test_padding_among_channels_shifts_the_places() -> None:
    (group,) = found(Net(lambda x: F.pad(x, (0, 0, 0, 0, 3, 1)), 12)).groups
    head = next(member for member in group.members if member.tensor == "head.weight")
    assert head.places.tolist() == list(range(3, 11))


def test_a_layer_whose_channels_are_read_by_nobody_is_frozen() -> None:
    net = Net(lambda x: x)
    net.between = lambda x: (x, net.extra(x))[0]
    net.extra = nn.Conv2d(8, 6, 1)
    assert reason(found(net), "extra") == "is read by no layer"


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
