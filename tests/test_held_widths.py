from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from equality import assert_slims, gap, images, random_subnetwork, run
from test_reference import supernet
from torch import Tensor, nn

from secateur.models.subnetwork import Subnetwork
from secateur.models.surgery.slim import narrow, slim


class Holding(nn.Module):
    """A convolution of 8 to 8 channels beside its input, with an attribute that forward reads."""

    def __init__(self, held: Any, use: Callable[["Holding", Tensor], Tensor]) -> None:
        super().__init__()
        self.held, self.use = held, use
        self.body, self.vector = nn.Conv2d(8, 8, 3, padding=1), nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(self.use(self, x)).relu()
        return out


class Larger(nn.Module):
    """The larger of the two halves of a convolution's channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.conv, self.back = width, nn.Conv2d(8, 2 * width, 1), nn.Conv2d(width, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.back(torch.maximum(*self.conv(x).split(self.width, 1)))
        return out


USES: dict[str, tuple[Any, Callable[[Holding, Tensor], Tensor]]] = {
    "groups": (8, lambda m, x: F.conv2d(x, m.vector.view(-1, 1, 1, 1), groups=m.held)),
    "shape": ((8, 1, 1), lambda m, x: x * m.vector.view(m.held)),
    "list": ([-1, 8, 1, 1], lambda m, x: x * m.vector.view(m.held)),
    "reshape": (8, lambda m, x: (x.view(len(x), m.held, -1) * m.vector[:, None]).view_as(x)),
    "expansion": (8, lambda m, x: x * m.vector.sigmoid().expand(1, m.held)[..., None, None]),
}


@pytest.mark.parametrize(("held", "use"), USES.values(), ids=USES)
def test_a_width_that_an_attribute_holds_is_narrowed(held: Any, use: Callable[[Holding, Tensor], Tensor]) -> None:
    net = supernet(Holding(held, use))
    assert [group.width for group in net.groups] == [6, 8]
    assert_slims(net)


def test_half_of_a_layer_is_narrowed_as_the_group_that_it_is() -> None:
    net = supernet(Larger(5))
    assert [group.width for group in net.groups] == [6, 8, 5, 8]
    assert_slims(net)
    assert slim(net, Subnetwork(((0,), (0, 1), (0, 3, 4), (0, 1, 2, 3)))).get_submodule("middle").width == 3


def held_after(held: Any, name: str = "held") -> Any:
    """What becomes of an attribute of this name and value where the 8 channels beside it become 3."""
    module = Holding(8, lambda m, x: x * m.vector[:, None, None])
    setattr(module, name, held)
    net = supernet(module)
    return getattr(slim(net, Subnetwork(((0, 1), (0, 2, 5)))).get_submodule("middle"), name)


@pytest.mark.parametrize("held", [8.0, True, "8", (8, "same"), None, 16, (), [7], [5, 7, 8]])
def test_what_is_no_width_stays(held: Any) -> None:
    assert held_after(held) == held


@pytest.mark.parametrize("name", ["kernel_size", "num_heads", "patch", "_private", "node", "i"])
def test_a_name_that_says_otherwise_is_believed(name: str) -> None:
    assert held_after(8, name) == 8
    assert held_after(8, "channels") == 3


def test_a_number_that_two_widths_share_stays() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width, self.there, self.back = 8, nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = x + self.back(self.there(x).relu())
            return out

    net = supernet(Two())
    assert slim(net, Subnetwork(((0,), (0, 1, 2), (0, 1)))).get_submodule("middle").width == 8
    assert slim(net, Subnetwork(((0,), (0, 1, 2), (0, 1, 2)))).get_submodule("middle").width == 3


class Paths(nn.Module):
    """Two convolutions, each of one half of the channels; what both make happens to be as wide as what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.in_channels = 8
        self.one, self.two, self.back = nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        one, two = x.split(self.in_channels // 2, 1)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        out: Tensor = self.back((self.one(one) + self.two(two)).relu())
        return out


def test_a_width_that_comes_in_is_not_taken_for_another_that_equals_it() -> None:
    net = supernet(Paths())
    assert {group.name: group.width for group in net.groups if group.name != "second"} == {
        "first": 6,
        "middle.one": 8,
        "middle.back": 8,
    }
    assert_slims(net)


def test_the_dense_network_keeps_its_attributes() -> None:
    net = supernet(Holding((8, 1, 1), USES["shape"][1]))
    slim(net, random_subnetwork(net, 0))
    assert net.model.get_submodule("middle").held == (8, 1, 1)


def test_narrowing_in_place_narrows_attributes_too() -> None:
    net = supernet(Holding(*USES["groups"]))
    now, then = Subnetwork(((0, 1, 2), (0, 1, 2, 4, 6))), Subnetwork(((0, 2), (1, 4, 6)))
    model = slim(net, now)
    narrow(net, model, now, then)
    assert model.get_submodule("middle").held == 3
    assert gap(run(model, images(net, 2)), run(slim(net, then), images(net, 2))) < 1e-6


class Branches(nn.Module):
    """Two normed branches, which ``fuse`` makes one convolution by what the block knows of itself."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.in_channels, self.groups, self.fused = channels, groups, False
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.norm, self.skip = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x) if self.fused else self.norm(self.conv(x)) + self.skip(x)
        return out

    def fuse(self) -> None:
        one = torch.zeros_like(self.conv.weight)
        for place in range(self.in_channels):
            one[place, place % (self.in_channels // self.groups), 1, 1] = 1
        kernel, bias = torch.zeros_like(one), torch.zeros(self.in_channels)
        for each, norm in ((self.conv.weight, self.norm), (one, self.skip)):
            mean, variance = norm.running_mean, norm.running_var
            assert mean is not None
            assert variance is not None
            scale = norm.weight / (variance + norm.eps).sqrt()
            kernel, bias = kernel + each * scale.view(-1, 1, 1, 1), bias + norm.bias - mean * scale
        self.conv = nn.Conv2d(self.in_channels, self.in_channels, 3, padding=1, groups=self.groups)
        self.conv.load_state_dict({"weight": kernel.detach(), "bias": bias.detach()})
        self.fused = True


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_blocks_that_are_fused_after_pruning_know_their_width(groups: int) -> None:
    net = supernet(nn.Sequential(Branches(8, groups), nn.ReLU(), Branches(8, groups)))
    model = slim(net, random_subnetwork(net, 1)).eval()
    before = run(model, images(net, 2))
    for module in model.modules():
        if isinstance(module, Branches):
            module.fuse()
    assert gap(run(model, images(net, 2)), before) < 1e-5


def test_a_recurrent_layer_reads_fewer_features() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(8, 5, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = x * self.rnn(x.flatten(2).mT)[0].mean((1, 2)).view(-1, 1, 1, 1)
            return out

    net = supernet(Reader())
    assert [group.width for group in net.groups] == [6, 8, 5]
    subnetwork = random_subnetwork(net, 0)
    assert slim(net, subnetwork).get_submodule("middle.rnn").input_size == subnetwork.widths[1]


class Mixed(nn.Module):
    """Parts of the channels by sizes in a list, each under a depthwise kernel of its size."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.sizes, each = sizes, zip((1, 3, 5), sizes, strict=False)
        self.parts = nn.ModuleList(nn.Conv2d(n, n, k, padding=k // 2, groups=n) for k, n in each)

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(self.parts, torch.split(x, self.sizes, 1), strict=True)
        return torch.cat([conv(part) for conv, part in parts], 1)


class Partial(nn.Module):
    """A convolution of some of the channels beside the others, by two attributes; summed with what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.convolved, self.untouched = 3, 5
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        one, other = torch.split(x, [self.convolved, self.untouched], 1)
        return x + torch.cat([self.conv(one), other], 1).relu()


class Chained(nn.Module):
    """Equal parts, each convolved after the result of the one before was added to it; the last result is separate."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.convs = 2, nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        made: list[Tensor] = []
        parts = torch.split(x, self.width, 1)
        for conv, part in zip(self.convs, parts, strict=False):
            made.append(conv(part + made[-1] if made else part).relu())
        return torch.cat([*made, parts[-1]], 1)


@pytest.mark.parametrize(
    ("middle", "widths"),
    [(Mixed([4, 2, 2]), [6, 4, 2]), (Mixed([5, 3]), [6, 5, 3]), (Partial(), [6, 3, 5]), (Chained(), [6, 2, 2])],
    ids=lambda each: type(each).__name__,
)
def test_parts_by_sizes_in_attributes_are_narrowed_each_with_its_group(middle: nn.Module, widths: list[int]) -> None:
    net = supernet(middle)
    assert [group.width for group in net.groups] == widths
    assert_slims(net)


def test_a_list_of_sizes_follows_its_parts_even_where_a_number_in_it_means_two_things() -> None:
    net = supernet(Mixed([5, 3]))  # 5 and 3 are kernels, too
    model = slim(net, Subnetwork(((0,), (0, 2), (1,))))
    assert model.get_submodule("middle").sizes == [2, 1]


@pytest.mark.parametrize("sizes", [[5, 3], [4, 2, 2]], ids=str)
def test_parts_of_sizes_that_no_attribute_holds_stay(sizes: list[int]) -> None:
    class Written(Mixed):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([conv(part) for conv, part in zip(self.parts, x.split(sizes, 1), strict=True)], 1)  # type: ignore[no-untyped-call]

    module = Written(sizes)
    module.sizes = []
    net = supernet(module)
    assert {group.name: group.frozen for group in net.frozen}["second"] == "is cut at a fixed place"


def test_sizes_that_an_attribute_seems_to_hold_but_forward_computes_stay() -> None:
    class Computed(Mixed):
        def forward(self, x: Tensor) -> Tensor:
            sizes = [x.shape[1] // 2 + 1, x.shape[1] - x.shape[1] // 2 - 1]
            return torch.cat([conv(part) for conv, part in zip(self.parts, x.split(sizes, 1), strict=True)], 1)  # type: ignore[no-untyped-call]

    assert [group.width for group in supernet(Computed([5, 3])).groups] == [6]
