from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from secateur.models.tracing.groups import ChannelGroup, Grouping, grouping
from secateur.models.tracing.trace import trace
from secateur.models.zoo.mobilenetv2 import mobilenetv2
from secateur.models.zoo.resnet import resnet20, resnet56
from secateur.models.zoo.vgg import vgg11_bn


def found(make: Callable[[], nn.Module]) -> Grouping:
    with torch.device("meta"):
        model = make()
    return grouping(trace(model, torch.zeros(1, 3, 32, 32)))


def member(group: ChannelGroup, tensor: str, dim: int) -> dict[int, int]:
    """Channel → place."""
    (one,) = [m for m in group.members if (m.tensor, m.dim) == (tensor, dim)]
    return dict(zip(one.channels.tolist(), one.places.tolist(), strict=True))


def test_resnet20_has_nine_inner_groups_and_three_of_its_stages() -> None:
    groups = {group.name: group.width for group in found(resnet20).groups}
    inner = {f"layer{stage}.{block}.conv1": 8 * 2**stage for stage in (1, 2, 3) for block in range(3)}
    assert {name: groups[name] for name in inner} == inner
    assert sorted(width for name, width in groups.items() if name not in inner) == [16, 16, 32]
    assert len(groups) == 12


def test_channel_c_of_a_resnet_stage_is_channel_c_plus_a_quarter_of_the_next_width() -> None:
    groups = found(resnet20).groups
    first = next(g for g in groups if any(m.tensor == "conv1.weight" for m in g.members))
    assert member(first, "conv1.weight", 0) == {c: c for c in range(16)}
    assert member(first, "layer1.2.conv2.weight", 0) == {c: c for c in range(16)}
    assert member(first, "layer2.0.conv1.weight", 1) == {c: c for c in range(16)}
    assert member(first, "layer2.0.conv2.weight", 0) == {c: c + 32 // 4 for c in range(16)}
    assert member(first, "layer3.0.conv2.weight", 0) == {c: c + 32 // 4 + 64 // 4 for c in range(16)}
    assert member(first, "linear.weight", 1) == {c: c + 24 for c in range(16)}


def test_channels_that_a_resnet_stage_adds_surround_those_of_the_one_before() -> None:
    groups = found(resnet20).groups
    made2 = [g for g in groups if any((m.tensor, m.dim) == ("layer2.0.conv2.weight", 0) for m in g.members)]
    second = next(g for g in made2 if all(m.tensor != "conv1.weight" for m in g.members))
    places = [*range(8), *range(24, 32)]
    assert sorted(member(second, "layer2.0.conv2.weight", 0).values()) == places
    assert sorted(member(second, "layer3.1.conv2.weight", 0).values()) == [place + 16 for place in places]
    shift = member(second, "layer3.0.conv1.weight", 1)
    assert {c: p + 16 for c, p in shift.items()} == member(second, "layer3.0.conv2.weight", 0)
    made3 = [g for g in groups if any((m.tensor, m.dim) == ("layer3.0.conv2.weight", 0) for m in g.members)]
    third = next(g for g in made3 if g.width == 32)
    assert sorted(member(third, "linear.weight", 1).values()) == [*range(16), *range(48, 64)]


def test_padding_buffers_are_narrowed_with_the_channels_that_meet_them() -> None:
    third = next(g for g in found(resnet20).groups if any(m.tensor == "layer3.0.shortcut.before" for m in g.members))
    before = member(third, "layer3.0.shortcut.before", 1)
    after = member(third, "layer3.0.shortcut.after", 1)
    filters = member(third, "layer3.0.conv2.weight", 0)
    assert {c: filters[c] for c in before} == before
    assert {c: filters[c] - 48 for c in after} == after
    assert len(before) == len(after) == 16


@pytest.mark.parametrize(("make", "count"), [(resnet56, 30), (vgg11_bn, 10), (mobilenetv2, 25)])
def test_other_networks_have_as_many_groups_as_widths_of_their_own(make: Callable[[], nn.Module], count: int) -> None:
    assert len(found(make).groups) == count


@pytest.mark.parametrize(
    ("make", "name"),
    [(resnet20, "linear"), (resnet56, "linear"), (vgg11_bn, "classifier.6"), (mobilenetv2, "linear")],
)
def test_the_outputs_alone_are_frozen(make: Callable[[], nn.Module], name: str) -> None:
    (frozen,) = found(make).frozen
    assert (frozen.name, frozen.width, frozen.frozen) == (name, 10, "is an output of the network")


@pytest.mark.parametrize("make", [resnet20, vgg11_bn, mobilenetv2])
def test_no_place_of_a_tensor_belongs_to_two_channels(make: Callable[[], nn.Module]) -> None:
    taken: set[tuple[str, int, int]] = set()
    result = found(make)
    for group in (*result.groups, *result.frozen):
        for m in group.members:
            places = {(m.tensor, m.dim, place) for place in m.places.tolist()}
            assert len(places) == len(m.places)
            assert not taken & places
            taken |= places


@pytest.mark.parametrize("make", [resnet20, vgg11_bn, mobilenetv2])
def test_a_member_reads_exactly_along_the_second_dimension_of_a_mixing_weight(make: Callable[[], nn.Module]) -> None:
    for group in found(make).groups:
        assert {m.dim for m in group.members if m.reads} == {1}
        assert any(m.reads for m in group.members)
        assert all(m.tensor.endswith(".weight") for m in group.members if m.reads)


def test_names_are_unique_and_are_modules_of_the_network() -> None:
    result = found(mobilenetv2)
    names = [group.name for group in (*result.groups, *result.frozen)]
    assert len(set(names)) == len(names)
    with torch.device("meta"):
        modules = dict(mobilenetv2().named_modules())
    assert {name.partition("#")[0] for name in names} <= modules.keys()


def test_where_gives_the_places_of_channels_in_ascending_order() -> None:
    group = next(g for g in found(vgg11_bn).groups if g.name == "features.0")
    reader = next(m for m in group.members if m.reads)
    assert reader.where(np.array([5, 2, 60])).tolist() == [2, 5, 60]


class Swapped(nn.Module):
    """The halves of the channels, the other way round."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(x.chunk(2, 1)[::-1], 1)


def test_the_only_channel_of_its_kind_is_frozen() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ChannelShuffle(2), Swapped(), nn.Conv2d(4, 5, 1))
    result = grouping(trace(model, torch.zeros(1, 3, 8, 8)))
    assert [(group.width, group.frozen) for group in result.frozen] == [
        (1, "is one channel of 4 places, all tied together"),
        (5, "is an output of the network"),
    ]
