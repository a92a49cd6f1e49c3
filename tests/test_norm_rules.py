from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_rules import Net, found
from torch import Tensor


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


def test_parts_of_channels_that_are_summed_stay_equal() -> None:
    net = Net(lambda x: x.view(1, 2, 4, 8, 8).sum(1), 4)
    (group,) = found(net).groups
    assert group.width == 4
    apart = found(Net(lambda x: torch.cat(x.view(1, 2, 4, 8, 8).unbind(1)[::-1], 1)))
    assert [group.width for group in apart.groups] == [4]
