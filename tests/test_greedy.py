"""The greedy search on losses known in closed form, and its scores against those of networks really narrowed."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from chains import plain
from hypothesis import given
from hypothesis import strategies as st
from scored import drawn, noise, residual
from torch import nn

from secateur.errors import SecateurError
from secateur.models.costs.budget import Budget
from secateur.models.costs.widths import fills_budget
from secateur.models.evaluate import batch_statistics
from secateur.models.split import Split
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import slim
from secateur.models.tracing.atoms import IntArray
from secateur.search.greedy import candidate_steps, greedy, rescore, trimmed_otsu
from secateur.search.importance.scores import Scores
from secateur.search.importance.taylor import taylor
from secateur.search.records import Interim, Records

WIDTHS = (16, 24, 12, 20, 16, 16)


NETS = {divisor: plain(WIDTHS, divisor) for divisor in (1, 4)}


def keeping(net: Supernet, share: float) -> Budget:
    return Budget(int(share * net.macs(net.dense)))


def drawn_scores(seed: int) -> Callable[[Supernet, Split], Scores]:
    """An importance that is random, the same every time, but zero for some channels."""

    def importance(net: Supernet, split: Split) -> Scores:
        random = np.random.default_rng(seed)
        return [np.maximum(random.lognormal(random.normal(), 1, g.width) - 0.3, 0) for g in net.groups]

    return importance


def even(net: Supernet, split: Split) -> Scores:
    return [np.ones(group.width) for group in net.groups]


class Known(Records):
    """Records whose losses are a function of the widths; notes every evaluation."""

    def __init__(self, loss: Callable[[IntArray], float], net: Supernet = NETS[1]) -> None:
        super().__init__(net, noise(4))
        self.loss = loss
        self.asked: list[Subnetwork] = []

    def evaluate(self, subnetwork: Subnetwork, source: str, images: int, rival: Interim | None = None) -> Interim:
        self.asked.append(subnetwork)
        macs = self.net.macs(subnetwork)
        return Interim(subnetwork, source, self.loss(subnetwork.widths), 0.5, images, macs, 1)


def narrowness(widths: IntArray) -> float:
    """A loss that rises as any group is narrowed, in some more than in others."""
    return float((np.array([3, 1, 4, 1.5, 2, 5]) * (np.array(WIDTHS) / widths) ** 2).sum())


def inside(part: Subnetwork, whole: Subnetwork) -> bool:
    return all(set(a) <= set(b) for a, b in zip(part.kept, whole.kept, strict=True))


@pytest.mark.parametrize("divisor", [1, 4])
@pytest.mark.parametrize("evaluations", [1, 12, 500])
@pytest.mark.parametrize("seed", range(3))
def test_kept_sets_are_nested(divisor: int, evaluations: int, seed: int) -> None:
    net = NETS[divisor]
    budget = keeping(net, 0.4)
    chain = [
        i.subnetwork
        for i in greedy(Known(narrowness, net), drawn_scores(seed), budget, images=4, evaluations=evaluations)
    ]
    way = [each for each in chain[:-1] if not budget.holds(net.space.costs, each.widths)]
    for wide, narrow in pairwise([net.dense, *way]):
        assert inside(narrow, wide)
        assert narrow != wide
    reached = chain[len(way) :]
    assert 1 <= len(reached) <= 2
    assert inside(reached[0], reached[-1])  # with the room filled that was left
    if len(reached) == 2:
        assert inside(reached[0], [net.dense, *way][-1])


@pytest.mark.parametrize("divisor", [1, 4])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
@pytest.mark.parametrize("evaluations", [1, 12, 500])
def test_the_last_meets_the_budget_to_the_last_channel(divisor: int, share: float, evaluations: int) -> None:
    net = NETS[divisor]
    budget = keeping(net, share)
    *_, last = greedy(Known(narrowness, net), drawn_scores(0), budget, images=4, evaluations=evaluations)
    assert fills_budget(net.space, budget, last.subnetwork.widths)


@given(st.integers(1, 60), st.integers(0, 100))
def test_there_are_no_more_evaluations_than_allowed(evaluations: int, seed: int) -> None:
    records = Known(narrowness)
    found = list(greedy(records, drawn_scores(seed), keeping(NETS[1], 0.4), images=4, evaluations=evaluations))
    assert 1 <= len(records.asked) <= evaluations
    assert {interim.subnetwork for interim in found} <= set(records.asked)


def test_many_evaluations_are_spent_along_the_whole_way() -> None:
    """With enough for two a step, no step goes without."""
    records = Known(narrowness)
    found = list(greedy(records, drawn_scores(0), keeping(NETS[1], 0.4), images=4, evaluations=60))
    removed = [NETS[1].dense.widths - i.subnetwork.widths for i in found]
    assert max((b - a).sum() for a, b in pairwise([np.zeros(6, np.int64), *removed[:-1]])) <= 4


def test_the_filter_spares_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    net = plain(widths=(16, 24, 12, 20, 16, 16, 12, 18, 14, 20))
    asked = []
    for threshold in (trimmed_otsu, lambda values: math.inf):
        monkeypatch.setattr("secateur.search.greedy.trimmed_otsu", threshold)
        records = Known(lambda widths: float((1 / widths).sum()), net)
        list(greedy(records, drawn_scores(1), keeping(net, 0.4), images=4, evaluations=10**6))
        asked.append(len(records.asked))
    assert asked[0] < 0.8 * asked[1]


def test_each_step_takes_the_lowest_loss_of_all_that_it_tried() -> None:
    records = Known(narrowness)
    way = []
    for interim in greedy(records, drawn_scores(0), keeping(NETS[1], 0.4), images=4, evaluations=500):
        tried, records.asked = records.asked, []
        assert interim.loss == min(narrowness(each.widths) for each in tried)
        way.append(len(tried))
    assert max(way) > 1


def test_a_group_that_costs_no_loss_goes_first() -> None:
    records = Known(lambda widths: float((np.array(WIDTHS) - widths)[[0, 1, 3, 4, 5]].sum()))
    first = next(greedy(records, even, keeping(NETS[1], 0.5), images=4, evaluations=500))
    assert np.flatnonzero(first.subnetwork.widths < WIDTHS).tolist() == [2]


def test_a_loss_that_is_no_number_is_never_preferred() -> None:
    records = Known(lambda widths: math.nan if widths[2] < WIDTHS[2] else 1.0)
    first = next(greedy(records, even, keeping(NETS[1], 0.9), images=4, evaluations=500))
    assert first.loss == 1


def first_tries(net: Supernet) -> list[tuple[str, int]]:
    """The groups that the first step tries, and how many channels it takes from each."""
    records = Known(lambda widths: 1.0, net)
    next(greedy(records, even, keeping(net, 0.5), images=4, evaluations=10**6))
    gone = [net.dense.widths - each.widths for each in records.asked]
    return [(net.groups[int(each.argmax())].name, int(each.sum())) for each in gone]


def test_a_step_takes_a_fifth_of_a_group() -> None:
    assert sorted(n for _, n in first_tries(NETS[1])) == sorted(int(0.2 * width) for width in WIDTHS)
    assert {n for _, n in first_tries(NETS[4])} == {4}  # no less than the divisor


def test_a_step_takes_less_of_a_group_that_several_layers_read() -> None:
    """A fifth of 20 shared between two readers is 2; of 15 and one reader, 3."""
    assert dict(first_tries(shared(20, 15))) == {"stem": 2, "inner": 3}


def shared(outer: int, inner: int) -> Supernet:
    """A residual block whose outer channels are read by its first layer and by the head."""
    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner = nn.Conv2d(3, outer, 3, padding=1), nn.Conv2d(outer, inner, 3, padding=1)
            self.back, self.head = nn.Conv2d(inner, outer, 3, padding=1), nn.Linear(outer, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x).relu()
            x = x + self.back(self.inner(x).relu())
            return torch.as_tensor(self.head(x.mean((2, 3))))

    return Supernet.of(Block().eval(), torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("evaluations", [0, -1])
def test_no_evaluation_at_all_is_refused(evaluations: int) -> None:
    with pytest.raises(SecateurError, match=f"evaluations={evaluations}; pass 1 or more"):
        next(greedy(Known(narrowness), even, keeping(NETS[1], 0.5), images=4, evaluations=evaluations))


def test_a_budget_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(SecateurError, match="cannot be met"):
        next(greedy(Known(narrowness), even, Budget(100), images=4, evaluations=500))


def test_the_dense_cost_as_a_budget_gives_the_dense_network() -> None:
    (only,) = greedy(Known(narrowness), even, keeping(NETS[1], 1), images=4, evaluations=500)
    assert only.subnetwork == NETS[1].dense


def test_run_again_it_evaluates_nothing_and_finds_the_same() -> None:
    records, budget = Records(NETS[1], noise(8)), keeping(NETS[1], 0.7)
    first = list(greedy(records, taylor, budget, images=8, evaluations=20))
    count = len(records.all)
    assert list(greedy(records, taylor, budget, images=8, evaluations=20)) == first
    assert len(records.all) == count <= 20
    assert NETS[1].model.training == plain(WIDTHS).model.training


@given(st.integers(0, 100))
def test_only_groups_up_to_the_threshold_are_promising(seed: int) -> None:
    net, random = NETS[1], np.random.default_rng(seed)
    scores = [random.lognormal(random.normal(0, 2), 1, width) for width in WIDTHS]
    strides = np.array([3, 4, 2, 4, 3, 3])
    damage = np.array([np.sort(score)[:stride].sum() for score, stride in zip(scores, strides, strict=True)])
    passing = [g for g in np.argsort(damage) if damage[g] <= trimmed_otsu(damage)]
    found = candidate_steps(net.space, keeping(net, 0.1), scores, net.space.dense, strides=strides)
    assert [int((each.widths != net.space.dense).argmax()) for each in found] == passing
    for g, each in zip(passing, found, strict=True):
        gone = np.setdiff1d(np.arange(WIDTHS[g]), each.kept[g])
        assert scores[g][gone].sum() == pytest.approx(damage[g])


def split_by_hand(values: list[float]) -> float:
    """The threshold of the best of all splits of ascending values, n - 2 of them."""

    def between(t: int) -> float:
        low, high = values[:t], values[t:]
        return len(low) * len(high) * (sum(low) / len(low) - sum(high) / len(high)) ** 2

    best = max(range(1, len(values) - 1), key=between)
    return (values[best - 1] + values[best]) / 2


@given(st.lists(st.floats(0, 100).map(lambda x: round(x, 2)), min_size=7, max_size=30, unique=True))
def test_the_threshold_is_that_of_the_best_split_of_what_trimming_leaves(values: list[float]) -> None:
    out = math.ceil(0.2 * len(values))
    assert trimmed_otsu(np.array(values)) == pytest.approx(split_by_hand(sorted(values)[out : len(values) - out]))


def test_two_clusters_are_told_apart() -> None:
    low, high = np.linspace(1, 2, 10), np.linspace(50, 60, 10)
    assert 2 < trimmed_otsu(np.concatenate([high, low])) < 50


def test_outliers_do_not_move_the_threshold() -> None:
    values = np.concatenate([np.linspace(1, 2, 10), np.linspace(50, 60, 10)])
    values[-1] = 1e9
    assert trimmed_otsu(values) < 50


@pytest.mark.parametrize("count", range(5))
def test_with_too_few_groups_to_split_all_pass(count: int) -> None:
    assert trimmed_otsu(np.arange(float(count))) == math.inf


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_the_narrowed_network(seed: int) -> None:
    net, split = residual(seed), drawn(16)
    present = top_channels(
        [np.random.default_rng(seed).random(g.width) for g in net.groups], net.space.dense - np.array([3, 2, 1])
    )
    model = slim(net, present)
    narrow = Supernet.of(model, torch.zeros(1, 3, 8, 8))
    with batch_statistics(model):
        expected = taylor(narrow, split)
    found = rescore(net, split, taylor, present)
    assert [group.name for group in narrow.groups] == [group.name for group in net.groups]
    for score, kept, alone in zip(found, present.kept, expected, strict=True):
        np.testing.assert_allclose(score[list(kept)], alone, rtol=1e-4, atol=1e-6)
        assert (np.delete(score, kept) == -np.inf).all()
