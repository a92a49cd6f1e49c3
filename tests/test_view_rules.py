from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_rules import Net, found
from torch import Tensor, nn

from secateur.models.tracing.groups import Grouping


def moved(move: Callable[[Tensor], Tensor], arriving: int = 8) -> Grouping:
    """The groups of a network with a move between its stem and its head, which reads ``arriving`` channels."""
    return found(Net(move, arriving))


def read_by_head(grouping: Grouping) -> list[list[int]]:
    """For every channel of the stem's group, where the head reads it."""
    (group,) = grouping.groups
    head = next(member for member in group.members if member.tensor == "head.weight")
    return [head.where(np.array([channel])).tolist() for channel in range(group.width)]


def made_by_stem(grouping: Grouping) -> list[list[int]]:
    (group,) = grouping.groups
    stem = next(member for member in group.members if member.tensor == "stem.weight")
    return [stem.where(np.array([channel])).tolist() for channel in range(group.width)]


def shuffled(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


@pytest.mark.parametrize(
    ("move", "reads"),
    [
        (lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), [[0, 4], [1, 5], [2, 6], [3, 7]]),
        (lambda x: torch.cat([x[:, x.shape[1] // 2 :], x[:, : x.shape[1] // 2]], 1), [[0, 4], [1, 5], [2, 6], [3, 7]]),
        (shuffled, [[0, 1], [2, 3], [4, 5], [6, 7]]),
        (lambda x: x.view(1, 2, -1, 8, 8).flip(1).flatten(1, 2), [[0, 4], [1, 5], [2, 6], [3, 7]]),
        (nn.ChannelShuffle(2), [[0, 1], [2, 3], [4, 5], [6, 7]]),
    ],
)
def test_equal_parts_stay_equal_and_each_channel_is_followed(
    move: Callable[[Tensor], Tensor], reads: list[list[int]]
) -> None:
    result = moved(move)
    assert made_by_stem(result) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert read_by_head(result) == reads


def test_pixel_shuffle_makes_one_channel_of_neighbours_and_unshuffle_neighbours_of_one() -> None:
    together = moved(nn.PixelShuffle(2), 2)
    assert made_by_stem(together) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert read_by_head(together) == [[0], [1]]
    apart = moved(nn.PixelUnshuffle(2), 32)
    assert made_by_stem(apart) == [[c] for c in range(8)]
    assert read_by_head(apart) == [list(range(4 * c, 4 * c + 4)) for c in range(8)]


@pytest.mark.parametrize(
    ("move", "arriving", "why"),
    [
        (lambda x: x * x[:, 0, None], 8, "is cut at a fixed place"),
        (lambda x: x[:, :3], 3, "is cut at a fixed place"),
        (lambda x: x[:, ::2], 4, "is cut at a fixed place"),
        (lambda x: torch.cat(x.split([3, 5], 1)[::-1], 1), 8, "is cut at a fixed place"),
        (lambda x: x.flip(1), 8, "changes places by aten.flip"),
        (lambda x: x.roll(1, 1), 8, "changes places by aten.roll"),
    ],
)
def test_channels_stay_where_forward_picks_places(move: Callable[[Tensor], Tensor], arriving: int, why: str) -> None:
    result = moved(move, arriving)
    assert result.groups == ()
    assert why in str(result.frozen[0].frozen)


def test_moves_in_space_leave_channels_alone() -> None:
    result = moved(lambda x: x.flip(2, 3).roll((1, 2), (2, 3)))
    assert read_by_head(result) == [[c] for c in range(8)]


def test_stacked_tensors_are_tied_channel_by_channel() -> None:
    net = Net(lambda x: torch.stack([x, net.extra(x)], 1).sum(1))
    net.extra = nn.Conv2d(8, 8, 1)
    assert [(group.name, group.width) for group in found(net).groups] == [("stem", 8)]


def test_channels_that_meet_are_tied_and_a_repeated_channel_is_one() -> None:
    twice = found(Net(lambda x: torch.cat([x, x], 1), 16))
    (group,) = twice.groups
    head = next(member for member in group.members if member.tensor == "head.weight")
    assert head.where(np.array([2, 5])).tolist() == [2, 5, 10, 13]


def test_unfolded_patches_are_neighbouring_places_of_their_channel() -> None:
    (group,) = found(Net(lambda x: F.unfold(x, 3, padding=1).view(1, 72, 8, 8), 72)).groups
    head = next(member for member in group.members if member.tensor == "head.weight")
    assert head.where(np.array([2])).tolist() == list(range(18, 27))


def test_padding_among_channels_shifts_the_places() -> None:
    (group,) = found(Net(lambda x: F.pad(x, (0, 0, 0, 0, 3, 1)), 12)).groups
    head = next(member for member in group.members if member.tensor == "head.weight")
    assert head.places.tolist() == list(range(3, 11))
