"""The proposals of the coarse search, from near dense down to the budget and beyond."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from chains import plain

from secateur.models.costs.budget import Budget
from secateur.models.costs.budget_range import BudgetRange
from secateur.models.costs.widths import Space, fills_budget
from secateur.models.supernet import Supernet
from secateur.models.tracing.atoms import FloatArray, IntArray
from secateur.search.allocation import ALLOCATION_RULES, CURVE_RULES
from secateur.search.coarse import NEAR, Proposal, levels, propose
from secateur.search.evidence import Evidence
from secateur.search.importance.scores import Scores


def random_scores(net: Supernet, seed: int = 0) -> Scores:
    random = np.random.default_rng(seed)
    return [random.lognormal(random.normal(0, 3), 1, group.width) for group in net.groups]


def summed(scores: Scores) -> Scores:
    """Error curves: the sum over the channels that go, the lowest first."""
    return [np.append(np.cumsum(np.sort(score))[::-1], 0.0) for score in scores]


NETS = {divisor: plain(divisor=divisor) for divisor in (1, 4)}
SCORES = {"one": random_scores(NETS[1], 1), "two": random_scores(NETS[1], 2)}
CURVES = {"one": summed(SCORES["one"])}
WAYS = [*ALLOCATION_RULES, *(f"one {rule}" for rule in CURVE_RULES)]


def keeping(net: Supernet, share: float) -> Budget:
    return Budget(int(share * net.macs(net.dense)))


def alone(budget: Budget) -> BudgetRange:
    return BudgetRange(budget, budget)


def proposals(net: Supernet, budget: Budget) -> list[Proposal]:
    scores = {"one": random_scores(net, 1), "two": random_scores(net, 2)}
    return propose(net.space, levels(net.space, alone(budget)), Evidence(scores, {"one": summed(scores["one"])}))


def pooled(net: Supernet, *budgets: Budget) -> list[Proposal]:
    return propose(net.space, budgets, Evidence(SCORES, CURVES))


@pytest.mark.parametrize("divisor", [1, 4])
def test_every_proposal_meets_its_own_level_to_the_last_channel(divisor: int) -> None:
    net = NETS[divisor]
    for proposal in proposals(net, keeping(net, 0.5)):
        assert fills_budget(net.space, proposal.budget, proposal.subnetwork.widths)


def test_each_score_and_rule_comes_down_from_dense_to_the_budget() -> None:
    net = plain((160, 240, 120, 200))
    budget = keeping(net, 0.5)
    found = proposals(net, budget)
    ways = {(c.score, c.rule): [d for d in found if (d.score, d.rule) == (c.score, c.rule)] for c in found}
    assert list(ways) == [(score, rule) for rule in WAYS for score in ("one", "two")]
    for (_, rule), way in ways.items():
        costs = [net.macs(candidate.subnetwork) for candidate in way]
        assert costs == sorted(costs, reverse=True)
        assert len(set(costs)) == 7 or rule != "uniform"


def test_levels_come_down_to_the_budget_and_go_beyond_it() -> None:
    net = NETS[1]
    dense, budget = net.macs(net.dense), keeping(net, 0.5)
    shares = [(level.macs or 0) / dense for level in levels(net.space, alone(budget))]
    assert shares == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], rel=1e-3)


def test_levels_of_a_span_come_down_to_it_and_through_it() -> None:
    net = NETS[1]
    dense, span = net.macs(net.dense), BudgetRange(keeping(net, 0.4), keeping(net, 0.8))
    found = levels(net.space, span)
    assert [level.macs / dense for level in found] == pytest.approx([0.96, 0.88, 0.8, 0.7, 0.6, 0.5, 0.4], rel=1e-3)
    assert (found[2], found[-1]) == (span.high, span.low)


def test_costs_beyond_the_budget_end_where_no_width_can_reach() -> None:
    net = NETS[1]
    least, dense = (int(net.space.costs.macs(widths)) for widths in (net.space.min_widths, net.space.dense))
    low = [level.macs or 0 for level in levels(net.space, alone(Budget(int(1.3 * least))))]
    assert low[:4] == sorted(low[:4], reverse=True)
    assert low[4:] == [int(1.3 * least), int(0.8 * int(1.3 * least))]
    assert dense > low[0]


@pytest.mark.parametrize("rule", list(ALLOCATION_RULES))
def test_the_way_down_is_nested(rule: str) -> None:
    net = plain((64, 96, 48, 80))
    for score in ("one", "two"):
        found = proposals(net, keeping(net, 0.4))
        way = [p.subnetwork for p in found if (p.score, p.rule) == (score, rule)]
        for wide, narrow in pairwise(way):
            assert all(set(b) <= set(a) for a, b in zip(wide.kept, narrow.kept, strict=True))


def test_candidates_keep_the_channels_of_highest_score() -> None:
    for candidate in pooled(NETS[1], *levels(NETS[1].space, alone(keeping(NETS[1], 0.5)))):
        for score, kept in zip(SCORES[candidate.score], candidate.subnetwork.kept, strict=True):
            assert score[list(kept)].min() >= np.delete(score, kept).max(initial=-np.inf)


def test_a_rule_on_curves_takes_its_widths_from_them_and_its_channels_from_the_score() -> None:
    net, budget = NETS[1], keeping(NETS[1], 0.5)
    found = {(c.score, c.rule): c.subnetwork for c in pooled(net, budget)}
    one, two = (found[score, "one error_per_mac"] for score in ("one", "two"))
    expected = CURVE_RULES["error_per_mac"](net.space, budget, CURVES["one"])
    assert one.widths.tolist() == two.widths.tolist() == expected.tolist()
    assert one != two


def distance(a: IntArray, b: IntArray) -> float:
    return float(np.abs(a - b).sum() / a.sum())


def test_of_candidates_that_are_nearly_the_same_the_first_alone_stays() -> None:
    net = plain((160, 240, 120, 200))
    evidence, budgets = Evidence({"one": random_scores(net)}), [keeping(net, 0.5)]
    (first,) = (c.subnetwork.widths for c in propose(net.space, budgets, evidence) if c.rule == "uniform")

    def moved(channels: int) -> list[tuple[str, list[int]]]:
        """What stays of the first, and of one whose first two widths are other by this many channels."""

        def rule(space: Space, budget: Budget, scores: Sequence[FloatArray]) -> IntArray:
            widths: IntArray = first + np.array([channels, -channels, 0, 0])
            return widths

        rules = {"uniform": ALLOCATION_RULES["uniform"], "moved": rule}
        return [(c.rule, c.subnetwork.widths.tolist()) for c in propose(net.space, budgets, evidence, rules=rules)]

    limit = int(NEAR * first.sum() / 2)
    assert moved(limit - 1) == [("uniform", first.tolist())]
    assert [rule for rule, _ in moved(limit + 1)] == ["uniform", "moved"]


def test_nearly_the_same_widths_are_two_candidates_of_two_scores_or_of_two_budgets() -> None:
    net = NETS[1]
    budgets = [keeping(net, 0.5), keeping(net, 0.501)]
    found = [(c.score, c.budget) for c in pooled(net, *budgets) if c.rule == "uniform"]
    assert found == [(score, budget) for score in SCORES for budget in budgets]


def test_no_two_candidates_of_a_score_and_a_budget_are_nearly_the_same() -> None:
    found = pooled(NETS[1], *levels(NETS[1].space, alone(keeping(NETS[1], 0.5))))
    pairs = [(a, b) for i, a in enumerate(found) for b in found[:i] if (a.score, a.budget) == (b.score, b.budget)]
    assert all(distance(b.subnetwork.widths, a.subnetwork.widths) >= NEAR for a, b in pairs)
    assert len(found) < len(SCORES) * len(WAYS) * 7  # some were


def test_a_candidate_says_what_made_it() -> None:
    assert [c.source for c in pooled(NETS[1], keeping(NETS[1], 0.5))][:2] == ["one uniform", "two uniform"]


def test_the_same_evidence_gives_the_same_pool() -> None:
    budgets = levels(NETS[1].space, alone(keeping(NETS[1], 0.5)))
    assert pooled(NETS[1], *budgets) == pooled(plain(), *budgets)


def test_without_curves_there_are_the_rules_on_scores_alone() -> None:
    net = NETS[1]
    found = propose(net.space, levels(net.space, alone(keeping(net, 0.5))), Evidence(SCORES))
    assert {candidate.rule for candidate in found} == set(ALLOCATION_RULES)
