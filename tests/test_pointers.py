from collections.abc import Callable

import numpy as np
import pytest
import torch
from equality import assert_slims, gap, run
from hypothesis import given, settings
from hypothesis import strategies as st
from test_reference import supernet
from torch import Tensor, nn

from secateur.models.subnetwork import Subnetwork
from secateur.models.surgery.pointers import renumbered
from secateur.models.surgery.slim import narrow, slim

ORDER = [3, 0, 7, 1, 6, 2, 5, 4]


class Ordered(nn.Module):
    """Eight channels in the order that a buffer says."""

    order: Tensor

    def __init__(self, take: Callable[[Tensor, Tensor], Tensor], order: list[int] = ORDER) -> None:
        super().__init__()
        self.take = take
        self.register_buffer("order", torch.tensor(order))

    def forward(self, x: Tensor) -> Tensor:
        return self.take(x, self.order)


WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "index": lambda x, order: x[:, order],
    "select": lambda x, order: x.index_select(1, order),
    "twice": lambda x, order: x[:, order].sigmoid().index_select(1, order),
    "moved": lambda x, order: x.movedim(1, -1)[..., order].movedim(-1, 1),
}


@pytest.mark.parametrize("take", WAYS.values(), ids=WAYS)
def test_channels_in_the_order_of_a_buffer_are_followed_and_the_buffer_goes_with_them(
    take: Callable[[Tensor, Tensor], Tensor],
) -> None:
    net = supernet(Ordered(take))
    assert net.groups[0].width == 6
    tied = ["second", "second#2"] if take is WAYS["twice"] else []  # orbits of three and of five channels
    assert [group.name for group in net.frozen] == [*tied, "head"]
    assert_slims(net)


def test_each_channel_moves_to_the_place_where_it_is_taken_to() -> None:
    net = supernet(Ordered(WAYS["index"]))
    model = slim(net, Subnetwork((tuple(range(6)), (0, 1, 2, 7))))
    assert dict(model.named_buffers())["middle.order"].tolist() == [0, 3, 1, 2]
    assert dict(net.model.named_buffers())["middle.order"].tolist() == ORDER


@pytest.mark.parametrize("order", [[1, 1, 0, 0, 2, 2, 7, 7], [-1, -2, 5, 4, 3, 2, 1, 0]], ids=str)
def test_a_buffer_may_take_channels_twice_and_count_from_the_end(order: list[int]) -> None:
    assert_slims(supernet(Ordered(WAYS["index"], order)))


def test_narrowing_in_place_renumbers_too() -> None:
    net = supernet(Ordered(WAYS["index"]))
    now, then = Subnetwork(((0, 1), (0, 1, 2, 5, 7))), Subnetwork(((0,), (1, 2, 7)))
    model, inputs = slim(net, now), (torch.randn(2, 3, 8, 8),)
    narrow(net, model, now, then)
    assert gap(run(model, inputs), run(slim(net, then), inputs)) < 1e-6


def test_an_order_that_forward_makes_freezes() -> None:
    net = supernet(lambda x: x[:, torch.tensor(ORDER, device=x.device)])
    reasons = {group.name: group.frozen for group in net.frozen}
    assert reasons["second"] == "goes through aten.index, which is not understood"


@given(st.data(), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_a_renumbered_place_is_that_of_the_same_channel(data: st.DataObject, width: int) -> None:
    before = np.array(sorted(data.draw(st.sets(st.integers(0, 20), min_size=width))))
    after = np.array(sorted(data.draw(st.sets(st.sampled_from(before.tolist()), min_size=1))))
    numbers = torch.tensor([before.tolist().index(channel) for channel in after])
    assert after[renumbered(numbers, before, after).numpy()].tolist() == after.tolist()
