import pytest
import torch
from torch import nn

from secateur.errors import SecateurError
from secateur.models.bottlenecks import explain_floor, frozen_shares
from secateur.models.supernet import Supernet
from secateur.models.timing.latency import measure


@pytest.fixture(scope="module")
def net() -> Supernet:
    """The first layer can be pruned, the second was frozen, the third makes the outputs."""
    layers = [nn.Conv2d(3, 10, 1, bias=False), nn.Conv2d(10, 20, 1, bias=False), nn.Conv2d(20, 5, 1, bias=False)]
    return Supernet.of(nn.Sequential(*layers), torch.zeros(1, 3, 8, 8), freeze=["1"], check=False)


PARTS = 3 + 20 + 100  # numbers of the three layers at the least widths, where one channel of the first group stays


@pytest.mark.parametrize("cost", ["macs", "parameters"])
def test_a_frozen_group_holds_the_layers_it_lies_in(net: Supernet, cost: str) -> None:
    found = {group.name: share for share, group in frozen_shares(net, net.limits("50%"), cost)}
    assert found == pytest.approx({"1": 120 / PARTS, "2": 100 / PARTS})


def test_a_frozen_group_holds_its_activations_at_the_peak(net: Supernet) -> None:
    found = {group.name: share for share, group in frozen_shares(net, net.limits("50%"), "memory")}
    assert found == pytest.approx({"1": 20 / 25, "2": 5 / 25})  # the third layer reads 20 channels and makes 5


def test_a_frozen_group_holds_the_time_of_its_layers(net: Supernet) -> None:
    budget = net.limits(latency="100%", timed=measure(net, subnetworks=4, repeats=1))
    assert {group.name for _, group in frozen_shares(net, budget, "latency")} == {"1", "2"}
    assert all(0 <= share <= 1 for share, _ in frozen_shares(net, budget, "latency"))


def test_the_largest_holders_are_named_with_their_reasons(net: Supernet) -> None:
    said = explain_floor(net, net.limits("50%"), "macs")
    assert said == ", of which 98% in 1, which was frozen by you, 81% in 2, which is an output of the network"


@pytest.mark.parametrize(("option", "text"), [("flops", "10%"), ("params", "10%"), ("memory", "10%")])
def test_a_budget_that_cannot_be_met_says_what_holds_the_cost_and_what_can_be_met(
    net: Supernet, option: str, text: str
) -> None:
    with pytest.raises(SecateurError, match=r"cannot be met: .* in 1, which was frozen by you") as caught:
        net.budget(**{option: text}, timed=None)
    advice = str(caught.value).partition(f"pass --{option} ")[2].partition("%")[0]
    assert net.budget(**{option: f"{advice}%"}, timed=None)
    with pytest.raises(SecateurError, match="cannot be met"):
        net.budget(**{option: f"{float(advice) - 0.2:.1f}%"}, timed=None)
