"""Multiples of widths at equal MACs."""

import torch
from chains import plain
from torch import nn

from secateur.deploy.divisors import by_divisor, suggested, uniform_network
from secateur.models.timing.clock import Timing

NET = plain((16, 24, 32))
EXAMPLE = torch.zeros(1, 3, 8, 8)


def times(**medians: float) -> dict[int, Timing]:
    return {int(name[1:]): Timing(median, median, median, 10) for name, median in medians.items()}


def test_widths_are_multiples_and_the_macs_hold() -> None:
    macs = NET.macs(NET.dense) // 2
    for divisor in (1, 4, 8):
        network = uniform_network(NET.model, EXAMPLE, macs, divisor)
        assert network is not None
        widths = [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)]
        assert [width % divisor for width in widths] == [0, 0, 0]
        assert sum(9 * 64 * a * b for a, b in zip([3, *widths], widths, strict=False)) + 4 * widths[-1] <= macs


def test_a_divisor_that_cannot_be_met_is_left_out() -> None:
    assert list(by_divisor(NET.model, EXAMPLE, NET.macs(NET.dense) // 4, (1, 4, 32))) == [1, 4]


def test_what_is_suggested_is_the_finest_that_is_as_quick_as_the_best() -> None:
    assert suggested(times(d1=1.0, d4=0.99, d8=1.2)) == 1
    assert suggested(times(d1=1.0, d4=0.8, d8=0.6, d16=0.59)) == 8
    assert suggested(times(d1=1.0, d16=0.5)) == 16
