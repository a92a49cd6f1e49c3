from collections.abc import Callable

import pytest
import torch
from equality import assert_slims
from test_reference import supernet
from test_rules import Net, found, reason
from torch import Tensor, nn


class Written(nn.Module):
    """The results of two convolutions, ``written`` into a tensor that was made before."""

    def __init__(self, written: Callable[[Tensor, Tensor], Tensor], makes: int) -> None:
        super().__init__()
        self.one, self.two, self.back = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(makes, 8, 1)
        self.written = written

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.back(self.written(self.one(x).relu(), self.two(x)))
        return out


def side_by_side(one: Tensor, two: Tensor) -> Tensor:
    out = one.new_zeros(len(one), one.shape[1] + two.shape[1], *one.shape[2:])
    out[:, : one.shape[1]] = one
    out[:, one.shape[1] :] = two
    return out


def one_above_the_other(one: Tensor, two: Tensor) -> Tensor:
    out = one.new_zeros(*one.shape[:2], 2 * one.shape[2], one.shape[3])
    out[:, :, : one.shape[2]] = one
    out[:, :, one.shape[2] :] = two
    return out


def in_a_frame(one: Tensor, two: Tensor) -> Tensor:
    out = one.new_zeros(*one.shape[:2], one.shape[2] + 2, one.shape[3] + 2)
    out[:, :, 1:-1, 1:-1] = one * two.sigmoid()
    return out


def row_by_row(one: Tensor, two: Tensor) -> Tensor:
    out = one.new_zeros(one.shape)
    for row in range(one.shape[2]):
        out[:, :, row] = (one if row % 2 else two)[:, :, row]
    return out


def test_parts_that_are_written_side_by_side_are_a_concatenation() -> None:
    net = supernet(Written(side_by_side, 12))
    widths = {group.name: group.width for group in net.groups}
    assert widths == {"first": 6, "second": 8, "middle.one": 6, "middle.two": 6, "middle.back": 8}
    assert_slims(net)


@pytest.mark.parametrize("written", [one_above_the_other, in_a_frame, row_by_row])
def test_channels_that_are_written_to_the_same_places_meet(written: Callable[[Tensor, Tensor], Tensor]) -> None:
    net = supernet(Written(written, 6))
    widths = {group.name: group.width for group in net.groups}
    assert widths == {"first": 6, "second": 8, "middle.one": 6, "middle.back": 8}
    assert_slims(net)


def test_a_copy_over_a_whole_tensor_of_a_fixed_size_keeps_the_channels() -> None:
    result = found(Net(lambda x: torch.zeros(1, 8, 8, 8, device=x.device).copy_(x)))
    assert reason(result, "stem") == "meets a tensor of a fixed size that forward makes"
