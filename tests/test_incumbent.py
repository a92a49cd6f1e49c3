import optuna
import torch
from chains import plain

from secateur.data.images import Images
from secateur.models.subnetwork import Subnetwork
from secateur.search.records import Interim, Records
from secateur.search.refine.incumbent import find_incumbent
from secateur.search.refine.study import learn, publish

NET = plain((12, 16, 10, 14))
SAMPLE, ALL = 8, 40
BUDGET = NET.budget("60%")


class Given(Records):
    """Losses by the first width: on the sample, and on all."""

    def __init__(self, losses: dict[int, tuple[float, float]]) -> None:
        super().__init__(NET, Images(lambda chunks: iter(()), torch.arange(ALL) % 4, (3, 8, 8)))
        self.losses, self.whole = losses, list[int]()
        for first in losses:
            self.evaluate(subnetwork(first), "coarse", SAMPLE)

    def _scored(self, subnetwork: Subnetwork, source: str, n: int, rival: Interim | None) -> Interim:
        first = len(subnetwork.kept[0])
        if n == ALL:
            self.whole.append(first)
        loss = self.losses[first][n == ALL]
        return Interim(subnetwork, source, loss, 0.5, n, self.net.macs(subnetwork), self.net.parameters(subnetwork))


def subnetwork(first: int) -> Subnetwork:
    return Subnetwork(tuple(tuple(range(width)) for width in (first, 6, 5, 5)))


def silent(interim: Interim) -> None:
    """Nobody listens."""


def best(records: Records) -> int:
    found = find_incumbent(records, BUDGET, SAMPLE, silent).incumbent
    assert found.n == SAMPLE
    return len(found.subnetwork.kept[0])


def test_what_is_better_on_the_sample_alone_is_not_the_best() -> None:
    records = Given({4: (1.0, 1.1), 5: (1.2, 1.3)})
    assert best(records) == 4
    records.losses[6] = (0.8, 1.4)
    records.evaluate(subnetwork(6), "refine", SAMPLE)
    assert best(records) == 4
    records.losses[3] = (0.9, 1.0)
    records.evaluate(subnetwork(3), "refine", SAMPLE)
    assert best(records) == 3


def test_only_what_beats_the_best_on_the_sample_is_scored_on_all_and_once() -> None:
    records = Given({4: (1.0, 1.1), 5: (1.2, 0.5), 6: (1.3, 0.6)})
    assert best(records) == 4
    assert best(records) == 4
    assert records.whole == [4]
    records.losses[3] = (0.9, 1.2)
    records.evaluate(subnetwork(3), "refine", SAMPLE)
    assert (best(records), best(records)) == (4, 4)
    assert records.whole == [4, 3]


def test_what_the_budget_forbids_is_no_rival() -> None:
    records = Given({4: (1.0, 1.1), 12: (0.1, 0.1)})
    small = NET.budget(str(NET.macs(subnetwork(5))))
    assert len(find_incumbent(records, small, SAMPLE, silent).incumbent.subnetwork.kept[0]) == 4


def test_where_the_sample_is_all_of_the_holdout_nothing_is_scored_twice() -> None:
    records = Given({4: (1.0, 1.1), 5: (0.9, 0.8)})
    for first in (4, 5):
        records.evaluate(subnetwork(first), "coarse", ALL)
    records.whole.clear()
    assert len(find_incumbent(records, BUDGET, ALL, silent).incumbent.subnetwork.kept[0]) == 5
    assert records.whole == []


def test_other_processes_learn_what_was_scored_on_all() -> None:
    one, other, study = Given({4: (1.0, 1.1)}), Given({4: (1.0, 1.1)}), optuna.create_study()
    find_incumbent(one, BUDGET, SAMPLE, lambda interim: publish(study, interim))
    learn(study, other, set())
    assert best(other) == 4
    assert (one.whole, other.whole) == ([4], [])
