import pytest
import torch
from torch import nn

from secateur.models.errors import SecateurError
from secateur.models.profile import Profile
from secateur.models.supernet import Supernet


@pytest.fixture(scope="module")
def net() -> Supernet:
    layers = [nn.Conv2d(3, 2, 1, bias=False), nn.Conv2d(2, 4, 3, padding=1), nn.Flatten(), nn.Linear(256, 5)]
    return Supernet.of(nn.Sequential(*layers), torch.zeros(1, 3, 8, 8))


TOTAL = 384 + 4608 + 1280  # MACs of the three layers


def test_a_line_says_the_width_the_tensors_and_the_share_of_the_macs(net: Supernet) -> None:
    first, second, outputs = net.profile().lines
    assert (first.name, first.width, first.members, first.frozen) == ("0", 2, 2, None)
    assert first.share == pytest.approx((384 + 4608) / TOTAL)
    assert (second.name, second.width, second.members) == ("1", 4, 3)
    assert second.share == pytest.approx((4608 + 1280) / TOTAL)
    assert (outputs.name, outputs.width, outputs.frozen) == ("3", 5, "is an output of the network")


def test_a_profile_says_what_can_be_reached(net: Supernet) -> None:
    profile = net.profile("50%")
    assert (profile.dense_macs, profile.budget_macs) == (TOTAL, TOTAL // 2)
    assert profile.least_macs == 192 + 576 + 320
    assert profile.dense_parameters == 6 + 76 + 1285
    assert profile.satisfiable


@pytest.mark.parametrize(("macs", "met"), [(1088, True), (1087, False)])
def test_a_budget_is_satisfiable_down_to_the_least_widths(net: Supernet, macs: int, met: bool) -> None:
    profile = net.profile(str(macs))
    assert profile.satisfiable == met
    assert ("can be met" in str(profile)) == met
    assert ("can NOT be met" in str(profile)) != met


def test_the_printed_table_has_a_line_for_each_group_with_its_reason(net: Supernet) -> None:
    header, first, second, outputs, summary = str(net.profile()).splitlines()
    assert header.split() == ["channel", "group", "width", "tensors", "MACs"]
    assert first.split() == ["0", "2", "2", "79.6%"]
    assert second.split() == ["1", "4", "3", "93.9%"]
    assert outputs.endswith("frozen: is an output of the network")
    assert "dense 0.01M MACs" in summary
    assert "least 0.00M MACs (17.3%)" in summary


def test_a_long_name_keeps_its_end(net: Supernet) -> None:
    inner: nn.Module = net.model
    for _ in range(20):
        inner = nn.Sequential(inner)
    profile: Profile = Supernet.of(inner, net.example).profile()
    line = str(profile).splitlines()[1]
    assert line.split()[0].endswith(".0.0.0")
    assert line.split()[1:] == ["2", "2", "79.6%"]


def test_a_budget_that_is_no_budget_is_refused(net: Supernet) -> None:
    with pytest.raises(SecateurError, match="'half' is not a share"):
        net.profile("half")
