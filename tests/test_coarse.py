from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from secateur.data import Images
from secateur.models.atoms import FloatArray, IntArray
from secateur.models.budget import Budget, Space, reachable
from secateur.models.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.search.coarse import RULES, Proposal, Rule, coarse_search, levels, threshold, uniform
from secateur.search.importance import Scores
from secateur.search.interim import Records

WIDTHS = (16, 24, 12, 20)


def plain(widths: tuple[int, ...] = WIDTHS, divisor: int = 1) -> Supernet:
    """A chain of convolutions with batch norm."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for reads, writes in zip((3, *widths), widths, strict=False):
        layers += [nn.Conv2d(reads, writes, 3, padding=1), nn.BatchNorm2d(writes), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 4))
    return Supernet.of(model, torch.zeros(1, 3, 8, 8), divisor=divisor)


def noise(count: int = 64) -> Images:
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Images(lambda chunks: (pixels[chunk] for chunk in chunks), torch.arange(count) % 4, (3, 8, 8))


def random_scores(net: Supernet, seed: int = 0) -> Scores:
    random = np.random.default_rng(seed)
    return [random.lognormal(random.normal(0, 3), 1, group.width) for group in net.groups]


def assert_tight(space: Space, budget: Budget, widths: IntArray) -> None:
    """The widths are allowed and meet the budget, and no group can be widened by a step."""
    assert (widths >= space.least).all()
    assert ((widths % space.divisor == 0) | (widths == space.dense)).all()
    assert int(space.costs.macs(widths)) <= budget.macs
    wider = space.wider(widths)
    assert not (budget.holds(space.costs, wider) & (np.diag(wider) > widths)).any()


def constant(width: int) -> FloatArray:
    return np.full(width, 0.1)


def nearly_constant(width: int) -> FloatArray:
    return 1 + np.arange(width) * np.finfo(np.float64).eps


def nothing(width: int) -> FloatArray:
    return np.zeros(width)


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
@pytest.mark.parametrize("divisor", [1, 4, 8])
@given(share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_a_rule_meets_any_budget_to_the_last_channel(rule: Rule, divisor: int, share: float, seed: int) -> None:
    net = NETS[divisor]
    least, dense = int(net.space.costs.macs(net.space.least)), net.macs(net.dense)
    budget = Budget(int(least + share * (dense - least)))
    assert_tight(net.space, budget, rule(net.space, budget, random_scores(net, seed)))


NETS = {divisor: plain(divisor=divisor) for divisor in (1, 4, 8)}


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
@pytest.mark.parametrize("scores", [constant, nearly_constant, nothing])
@pytest.mark.parametrize("budget", ["30%", "50%", "99.9%", "100%"])
def test_scores_that_say_nothing_still_give_widths(
    rule: Rule, scores: Callable[[int], FloatArray], budget: str
) -> None:
    net = NETS[1]
    limit = net.budget(budget)
    assert_tight(net.space, limit, rule(net.space, limit, [scores(width) for width in WIDTHS]))


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_the_dense_cost_as_a_budget_keeps_everything(rule: Rule) -> None:
    net = NETS[1]
    assert rule(net.space, net.budget("100%"), random_scores(net)).tolist() == list(WIDTHS)


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_a_budget_below_the_least_widths_is_refused_with_one_that_can_be_met(rule: Rule) -> None:
    with pytest.raises(SecateurError, match=r"least widths still cost .* give --flops"):
        rule(NETS[1].space, Budget(100), random_scores(NETS[1]))


@pytest.mark.parametrize("budget", ["20%", "50%", "80%"])
def test_uniform_keeps_the_same_share_of_every_group(budget: str) -> None:
    net = plain((160, 240, 120, 200))
    shares = uniform(net.space, net.budget(budget), []) / net.space.dense
    assert shares.max() - shares.min() <= 2 / 120  # one channel of rounding and one of filling


def test_uniform_does_not_look_at_scores() -> None:
    net, budget = NETS[1], NETS[1].budget("50%")
    assert uniform(net.space, budget, random_scores(net, 1)).tolist() == uniform(net.space, budget, []).tolist()


@given(st.integers(0, 1000), st.floats(0.1, 1))
def test_threshold_keeps_every_channel_above_the_lowest_threshold_that_fits(seed: int, share: float) -> None:
    net, space = NETS[1], NETS[1].space
    scores = random_scores(net, seed)
    budget = Budget(int(share * net.macs(net.dense)))
    normalised = [score / score.mean() for score in scores]
    for level in sorted(np.concatenate(normalised)):  # ascending: the first that fits is the lowest
        above = np.maximum([int((score >= level).sum()) for score in normalised], space.least)
        if space.costs.macs(above) <= budget.macs:
            assert (threshold(space, budget, scores) >= above).all()
            return
    assert share < 0.2  # only the least widths are left


def test_threshold_narrows_the_group_whose_channels_score_unevenly() -> None:
    """Half of the first group's channels are next to nothing: they go first, and the others stay."""
    net = plain((16, 16, 16, 16))
    uneven = np.array([1.0] * 8 + [1e-3] * 8)
    scores = [uneven, *[np.ones(16) + np.arange(16) / 100] * 3]
    halved = int(net.space.costs.macs(np.array([8, 16, 16, 16])))
    assert threshold(net.space, Budget(halved), scores).tolist() == [8, 16, 16, 16]
    assert threshold(net.space, Budget(halved), [1e6 * uneven, *scores[1:]]).tolist() == [8, 16, 16, 16]


def proposals(net: Supernet, budget: Budget, images: int = 64) -> list[Proposal]:
    scores = {"one": random_scores(net, 1), "two": random_scores(net, 2)}
    return list(coarse_search(Records(net, noise()), scores, budget, images))


@pytest.mark.parametrize("divisor", [1, 4])
def test_every_proposal_meets_its_own_level_to_the_last_channel(divisor: int) -> None:
    net = NETS[divisor]
    found = proposals(net, net.budget("50%"), 48)
    for proposal in found:
        assert_tight(net.space, proposal.budget, proposal.interim.subnetwork.widths)
        assert proposal.interim.macs == net.macs(proposal.interim.subnetwork)
        assert proposal.interim.n == 48


def test_each_score_and_rule_comes_down_from_dense_to_the_budget() -> None:
    net, budget = NETS[1], NETS[1].budget("50%")
    found = proposals(net, budget)
    ways = {(p.score, p.rule): [q for q in found if (q.score, q.rule) == (p.score, p.rule)] for p in found}
    assert found[0].interim.source == "one uniform"
    assert set(ways) == {(score, rule) for score in ("one", "two") for rule in ("uniform", "threshold")}
    for way in ways.values():
        costs = [proposal.interim.macs for proposal in way]
        assert costs == sorted(costs, reverse=True)
        assert len({cost for cost in costs if budget.macs < cost < net.macs(net.dense)}) >= 4
        assert way[4].budget == budget
        assert costs[4] <= budget.macs
        assert [proposal.budget.macs / budget.macs for proposal in way[5:]] == pytest.approx([0.8, 0.6], rel=1e-3)


def test_costs_beyond_the_budget_end_where_no_width_can_reach() -> None:
    net = NETS[1]
    least, dense = reachable(net.space)
    low = [level.macs for level in levels(net.space, Budget(int(1.3 * least)))]
    assert low[:4] == sorted(low[:4], reverse=True)
    assert low[4:] == [int(1.3 * least), int(0.8 * int(1.3 * least))]
    assert dense > low[0]


@pytest.mark.parametrize("rule", list(RULES))
def test_the_way_down_is_nested(rule: str) -> None:
    net = plain((64, 96, 48, 80))
    for score in ("one", "two"):
        found = proposals(net, net.budget("40%"), 2)
        way = [p.interim.subnetwork for p in found if (p.score, p.rule) == (score, rule)]
        for wide, narrow in pairwise(way):
            assert all(set(b) <= set(a) for a, b in zip(wide.kept, narrow.kept, strict=True))


def test_proposals_keep_the_channels_of_highest_score() -> None:
    net = NETS[1]
    for proposal in proposals(net, net.budget("50%"), 2):
        scores = random_scores(net, {"one": 1, "two": 2}[proposal.score])
        for score, kept in zip(scores, proposal.interim.subnetwork.kept, strict=True):
            removed = np.delete(score, kept)
            assert score[list(kept)].min() >= removed.max(initial=-np.inf)
