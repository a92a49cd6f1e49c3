import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.models.tracing.atoms import FloatArray, IntArray


@pytest.fixture(scope="module")
def net() -> Supernet:
    layers = [nn.Conv2d(3, 2, 1, bias=False), nn.Conv2d(2, 4, 3, padding=1), nn.Flatten(), nn.Linear(256, 5)]
    return Supernet.of(nn.Sequential(*layers), torch.zeros(1, 3, 8, 8))


TOTAL = 384 + 4608 + 1280  # MACs of the three layers


def test_a_line_says_the_widths_what_it_lies_in_and_the_share_of_the_macs(net: Supernet) -> None:
    first, second, outputs = net.profile().lines
    assert (first.name, first.width, first.least, first.layers, first.tensors) == ("0", 2, 1, 2, 2)
    assert (second.name, second.width, second.least, second.layers, second.tensors) == ("1", 4, 1, 2, 3)
    assert (outputs.name, outputs.width, outputs.least, outputs.layers, outputs.tensors) == ("3", 5, 5, 1, 2)
    assert first.share == pytest.approx((384 + 4608) / TOTAL)
    assert second.share == pytest.approx((4608 + 1280) / TOTAL)
    assert [line.frozen for line in (first, second, outputs)] == [None, None, "is an output of the network"]


def test_a_line_says_which_layers_make_and_read_its_channels(net: Supernet) -> None:
    profile = net.profile()
    assert [(layer.name, layer.macs) for layer in profile.layers] == [("0", 384), ("1", 4608), ("3", 1280)]
    assert [line.made_at for line in profile.lines] == [(0,), (1,), (2,)]
    assert [line.read_at for line in profile.lines] == [(1,), (2,), ()]


def test_a_layer_that_runs_twice_is_there_twice() -> None:
    again = nn.Conv2d(4, 4, 1, bias=False)
    layers = [nn.Conv2d(3, 4, 1, bias=False), again, nn.ReLU(), again, nn.Flatten(), nn.Linear(256, 5)]
    profile = Supernet.of(nn.Sequential(*layers), torch.zeros(1, 3, 8, 8)).profile()
    assert [layer.name for layer in profile.layers] == ["0", "1", "1", "5"]
    (line,) = profile.prunable
    assert (line.made_at, line.read_at, line.layers) == ((0, 1, 2), (1, 2, 3), 3)


def test_a_group_under_a_norm_that_pruning_changes_is_marked() -> None:
    norms: list[tuple[nn.Module, bool]] = [(nn.GroupNorm(1, 4), True), (nn.BatchNorm2d(4), False)]
    for norm, changes in norms:
        layers = [nn.Conv2d(3, 4, 1), norm, nn.Flatten(), nn.Linear(256, 5)]
        profile = Supernet.of(nn.Sequential(*layers), torch.zeros(1, 3, 8, 8)).profile()
        assert [line.normed for line in profile.prunable] == [changes]
        (row,) = [row for row in str(profile).splitlines() if row.startswith("0 ")]
        assert row.endswith("changes a norm") == changes
        assert ("1 of them: pruning changes a norm" in str(profile)) == changes


def test_a_profile_says_what_can_be_reached(net: Supernet) -> None:
    profile = net.profile("50%")
    assert profile.limits == {"macs": TOTAL // 2}
    assert profile.dense == {"macs": TOTAL, "parameters": 6 + 76 + 1285, "memory": net.memory(net.dense)}
    assert (profile.least_macs, profile.least["parameters"]) == (192 + 576 + 320, 3 + 10 + 325)
    assert profile.least["memory"] < profile.dense["memory"]
    assert profile.satisfiable


def test_a_share_counts_each_layer_with_a_prunable_group_once(net: Supernet) -> None:
    assert net.profile().prunable_share == 1
    first = Supernet.of(net.model, net.examples[0], freeze=["1"]).profile()
    assert first.prunable_share == pytest.approx((384 + 4608) / TOTAL)


@pytest.mark.parametrize(("macs", "met"), [(1088, True), (1087, False)])
def test_a_budget_is_satisfiable_down_to_the_least_widths(net: Supernet, macs: int, met: bool) -> None:
    profile = net.profile(str(macs))
    assert profile.satisfiable == met
    assert ("can be met" in str(profile)) == met
    assert ("can NOT be met" in str(profile)) != met


def test_the_printed_table_has_a_line_for_each_group_and_the_costs(net: Supernet) -> None:
    header, first, second, _, frozen, outputs, _, groups, _, costs, dense, least, budget = str(
        net.profile()
    ).splitlines()
    assert header.split() == ["channel", "group", "width", "least", "layers", "tensors", "MACs"]
    assert first.split() == ["0", "2", "1", "2", "2", "79.6%"]
    assert second.split() == ["1", "4", "1", "2", "3", "93.9%"]
    assert frozen.split() == ["frozen", "width", "MACs", "because", "it"]
    assert outputs.split(maxsplit=3) == ["3", "5", "20.4%", "is an output of the network"]
    assert groups == "2 groups can be pruned; they lie in layers with 100.0% of the MACs"
    assert costs.split() == ["MACs", "parameters", "peak", "activations"]
    assert dense.split()[:3] == ["dense", "6.272K", "1.367K"]
    assert least.split()[:5] == ["least", "1.088K", "(17.3%)", "338", "(24.7%)"]
    assert budget.split() == ["budget", "3.136K", "(50.0%)", "can", "be", "met"]


def test_what_no_cost_counts_is_listed(net: Supernet) -> None:
    assert "not counted" not in str(net.profile())
    layers = [nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 1)]
    profile = Supernet.of(nn.Sequential(*layers), torch.zeros(1, 3, 8, 8)).profile()
    assert profile.uncounted == ("relu",)
    assert str(profile).splitlines()[-1] == "not counted in any cost: relu"


def nested(layers: nn.Module, depth: int) -> nn.Module:
    return nested(nn.Sequential(layers), depth - 1) if depth else layers


def test_a_long_name_keeps_its_end(net: Supernet) -> None:
    line = str(Supernet.of(nested(net.model, 30), net.examples[0]).profile()).splitlines()[1]
    assert line.split()[0].startswith("…")
    assert line.split()[0].endswith(".0.0.0")
    assert line.split()[1:] == ["2", "1", "2", "2", "79.6%"]


def test_no_line_is_longer_than_a_hundred_columns(net: Supernet) -> None:
    deep = Supernet.of(nested(net.model, 30), net.examples[0], check=False)
    long = deep.freezing({deep.groups[0].name: "has a width written down in forward " * 5}).profile()
    assert max(map(len, str(long).splitlines())) <= 100
    assert " ".join(str(long).split()).count("has a width written") == 5


def chain(layers: int) -> Supernet:
    convs = [nn.Conv2d(3 if i == 0 else 4, 4, 1) for i in range(layers)]
    return Supernet.of(nn.Sequential(*convs, nn.Conv2d(4, 5, 1)), torch.zeros(1, 3, 8, 8), check=False)


@pytest.mark.parametrize(("layers", "rows"), [(12, 12), (13, 2)])
def test_many_frozen_groups_of_one_reason_share_a_row(layers: int, rows: int) -> None:
    net = chain(layers)
    frozen = net.freezing({group.name: "was frozen by you" for group in net.groups[1:]}).profile()
    block = str(frozen).split("because it\n")[1].split("\n\n")[0].splitlines()
    assert len(frozen.frozen) == layers  # all but the first, and the outputs
    assert len(block) == rows
    if rows == 2:
        macs = [layer.macs for layer in frozen.layers]
        share = f"{1 - macs[0] / sum(macs):.1%}"
        assert block[0].split(maxsplit=4) == ["12", "groups", "48", share, "was frozen by you"]


class Times:
    """A network that takes a millisecond a channel."""

    def layers(self, widths: IntArray, /) -> FloatArray:
        return np.asarray(widths, np.float64) * np.float64(1e-3)

    def __call__(self, widths: IntArray, /) -> FloatArray:
        return np.asarray(self.layers(widths).sum(-1))


def test_every_limit_of_a_budget_is_shown_in_its_column(net: Supernet) -> None:
    profile = net.profile(net.limits(params="50%", latency="5ms", timed=Times()))
    assert profile.limits == {"parameters": 683, "latency": 0.005}
    assert (profile.least["latency"], profile.dense["latency"]) == (0.002, 0.006)
    costs, dense, least, budget = str(profile).splitlines()[-4:]
    assert costs.split()[-1] == "latency"
    assert dense.split()[-1] == "0.006s"
    assert least.split()[-2:] == ["0.002s", "(33.3%)"]
    assert budget.split() == ["budget", "683", "(50.0%)", "0.005s", "(83.3%)", "can", "be", "met"]
    assert costs.index("latency") == dense.index("0.006s") == least.index("0.002s") == budget.index("0.005s")
    assert max(map(len, str(profile).splitlines())) <= 100


def test_a_budget_is_satisfiable_where_all_its_limits_are(net: Supernet) -> None:
    assert not net.profile(net.limits("50%", params="1%")).satisfiable
    assert not net.profile(net.limits("1%", params="50%")).satisfiable
    assert net.profile(net.limits("50%", params="50%", memory="70%")).satisfiable


def test_a_budget_that_is_no_budget_is_refused(net: Supernet) -> None:
    with pytest.raises(SecateurError, match="'half' is not a share"):
        net.profile("half")


def test_a_profile_is_plain_values_with_a_key_for_each_cost(net: Supernet) -> None:
    plain = net.profile("50%").to_dict()
    assert json.loads(json.dumps(plain))["lines"][0]["made_at"] == [0]
    costs = [f"{end}_{cost}" for cost in ("macs", "parameters", "memory", "latency") for end in ("least", "dense")]
    assert [*plain] == ["lines", "layers", "limits", *costs, "prunable_share", "uncounted", "satisfiable"]
    assert (plain["dense_macs"], plain["least_latency"]) == (TOTAL, None)


def test_a_profile_says_where_outputs_could_not_be_compared() -> None:
    class Abstract(nn.Module):
        """Runs on tensors without storage alone."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            if not x.is_meta:
                raise ValueError("not now")
            out: Tensor = self.second(self.first(x))
            return out

    net = Supernet.of(Abstract(), torch.zeros(1, 3, 4, 4))
    said = "the self-check could not compare outputs, and went by shapes alone"
    assert said in str(net.profile())
    assert net.profile().to_dict()["uncompared"] is True
    assert net.freezing({"first": "was frozen by you"}).uncompared
    whole = Supernet.of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), torch.zeros(1, 3, 4, 4))
    assert said not in str(whole.profile())
