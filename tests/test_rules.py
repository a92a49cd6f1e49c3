"""What each operation does to the channels that go through it: they can still go, or they stay and it says why."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import masked, slim
from secateur.models.tracing.atoms import Labels
from secateur.models.tracing.groups import Grouping, grouping
from secateur.models.tracing.ledger import Ledger
from secateur.models.tracing.op_call import Call
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
    nn.LPPool2d(2, 2), nn.LocalResponseNorm(3), nn.Upsample(scale_factor=2, mode="nearest-exact"),
]  # fmt: skip
MIXING: list[tuple[nn.Module, int, str]] = [  # the module, how many channels it makes of 8, why they stay
    (nn.Softmax(1), 8, "aten._softmax"),
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
        (lambda x: x * x.argmax(1, keepdim=True), "is reduced over by aten.argmax"),
        (lambda x: x * x.max(1, keepdim=True)[1], "is counted from the first channel on by aten.max"),
        (lambda x: x.cumsum(1), "aten.cumsum, which is not understood"),
        (lambda x: x[:, torch.arange(8)], "aten.index, which is not understood"),
        (lambda x: x.new_zeros(x.shape) + x, "meets a tensor of a fixed size that forward makes"),
        (lambda x: x + torch.zeros(1, 8, 1, 1, device=x.device), "meets a tensor of a fixed size that forward makes"),
        (lambda x: F.avg_pool2d(x.flatten(2), 3, 1, 1).unsqueeze(-1), "lies in space where aten.avg_pool2d works"),
        (lambda x: (x.new_ones(8, 8) @ x.flatten(2)).view_as(x), "in a product of activations"),
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
        lambda x: x * x.sum(),
        lambda x: x * x.sum(dim=()),
        lambda x: x * x.amax((1, 2, 3), keepdim=True),
        lambda x: x * x.max(1, keepdim=True)[0],
        lambda x: (x.flatten(2) @ x.flatten(2).mT @ x.flatten(2)).view_as(x),
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


def test_a_layer_whose_channels_are_read_by_nobody_is_frozen() -> None:
    net = Net(lambda x: x)
    net.between = lambda x: (x, net.extra(x))[0]
    net.extra = nn.Conv2d(8, 6, 1)
    assert reason(found(net), "extra") == "is read by no layer"


class Custom(nn.Module):
    """A stem, an operation that the tracer does not know, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(halve(self.stem(x)))
        return out


@torch.library.custom_op("secateur_tests::halve", mutates_args=())
def halve(x: Tensor) -> Tensor:
    """Half of everything, by a kernel of the user's own."""
    return x / 2


@halve.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def keeps_channels_apart(ledger: Ledger, call: Call) -> list[Labels]:
    return [ledger.labels(call.args[0])]


def test_an_operation_without_a_rule_freezes_its_input_and_is_named() -> None:
    net = Supernet.of(Custom(), torch.zeros(1, 3, 8, 8))
    assert net.groups == ()
    assert {group.name: group.frozen for group in net.frozen}["stem"] == (
        "goes through secateur_tests.halve, which is not understood"
    )


@pytest.mark.parametrize("overload", [False, True])
def test_a_rule_of_the_user_makes_its_operation_prunable(overload: bool) -> None:
    operation = torch.ops.secateur_tests.halve
    rules = {operation.default if overload else operation: keeps_channels_apart}
    net = Supernet.of(Custom(), torch.zeros(1, 3, 8, 8), rules=rules)
    assert [(group.name, group.width) for group in net.groups] == [("stem", 8)]
    subnetwork, images = Subnetwork(((1, 4, 6),)), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(slim(net, subnetwork)(images), masked(net, subnetwork)(images))


def test_a_rule_of_the_user_replaces_the_one_that_is_there() -> None:
    def freezes(ledger: Ledger, call: Call) -> list[Labels]:
        ledger.freeze(ledger.labels(call.args[0]), "is rectified")
        return [ledger.labels(call.args[0])]

    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 5, 1))
    image = torch.zeros(1, 3, 8, 8)
    assert reason(grouping(trace(model, image, rules={torch.ops.aten.relu: freezes})), "0") == "is rectified"
    assert [group.name for group in grouping(trace(model, image)).groups] == ["0"]


def test_a_rule_that_forgets_a_result_is_named() -> None:
    with pytest.raises(SecateurError, match=r"rule of secateur_tests.halve returned labels for 0 results of 1; return"):
        trace(Custom(), torch.zeros(1, 3, 8, 8), rules={torch.ops.secateur_tests.halve: lambda ledger, call: []})


def test_a_wrong_rule_is_found_by_the_check() -> None:
    def nothing_passes(ledger: Ledger, call: Call) -> list[Labels]:
        return [[]]  # and yet the channels that the head reads are those of the stem

    rules = {torch.ops.secateur_tests.halve: nothing_passes}
    net = Supernet.of(Custom(), torch.zeros(1, 3, 8, 8), rules=rules)
    assert net.groups == ()
