import math
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from torch import Tensor, nn

from secateur.data.dataset import Data
from secateur.data.images import Images
from secateur.errors import SecateurError
from secateur.models.costs.budget import Budget
from secateur.models.costs.budget_range import BudgetRange
from secateur.models.costs.widths import Space, fills_budget, fit_to_budget
from secateur.models.split import Split
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.tracing.atoms import FloatArray, IntArray
from secateur.progress import follow, silent
from secateur.search import coarse_to_fine as module
from secateur.search.coarse import Proposal
from secateur.search.coarse_to_fine import FINALISTS, Searched, search_widths
from secateur.search.config import SearchConfig
from secateur.search.evaluation import task_loss
from secateur.search.greedy import Greedy
from secateur.search.importance.magnitude import l1
from secateur.search.importance.scores import Scores
from secateur.search.pareto import pareto_front
from secateur.search.records import Interim, Records

HOLDOUT, SAMPLE, TRIALS = 48, 32, 3


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def toy() -> Supernet:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for reads, writes in ((3, 10), (10, 12), (12, 8)):
        layers += [nn.Conv2d(reads, writes, 3, padding=1), nn.BatchNorm2d(writes), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    return Supernet.of(model, torch.zeros(1, 3, 8, 8))


def noise(count: int = HOLDOUT) -> Images:
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Images(lambda chunks: (pixels[chunk] for chunk in chunks), torch.arange(count) % 4, (3, 8, 8))


def unreadable(count: int = 10) -> Images:
    def read(chunks: Sequence[Tensor]) -> Iterator[Tensor]:
        raise AssertionError("another split than the holdout was read")

    return Images(read, torch.arange(count) % 4, (3, 8, 8))


def asked(span: BudgetRange, trials: int, **other: Any) -> SearchConfig:
    return SearchConfig(span, trials, images=SAMPLE, **other)


def searched(records: Records, config: SearchConfig, folder: Path) -> Searched:
    return follow(search_widths(records, config, folder), silent)


@dataclass(frozen=True)
class Run:
    found: Searched
    records: Records
    budget: Budget
    told: list[tuple[str, int, int]]


def run(folder: Path, trials: int = TRIALS, budget: str = "50%", records: Records | None = None) -> Run:
    net, told = toy(), list[tuple[str, int, int]]()
    records = records or Records(net, noise(), folder / "records.jsonl")
    limit = net.budget(budget)
    config = asked(BudgetRange(limit, limit), trials)
    found = follow(search_widths(records, config, folder), lambda *what: told.append(what))
    return Run(found, records, limit, told)


def test_the_winner_meets_the_budget_and_is_scored_on_the_whole_holdout(tmp_path: Path) -> None:
    one = run(tmp_path)
    assert one.found.winner.macs == one.records.net.macs(one.found.winner.subnetwork) <= one.budget.macs
    assert one.found.winner.n == HOLDOUT
    assert one.found.winner == Records(toy(), noise()).evaluate(
        one.found.winner.subnetwork, one.found.winner.source, HOLDOUT
    )


def test_the_winner_is_no_worse_than_any_finalist_on_the_whole_holdout(tmp_path: Path) -> None:
    one = run(tmp_path)
    space = one.records.net.space
    full = [i for i in one.found.interims if fills_budget(space, one.budget, i.subnetwork.widths)]
    affordable = sorted({i.loss: i for i in full}.items())[:FINALISTS]
    again = [Records(toy(), noise()).evaluate(i.subnetwork, "again", HOLDOUT) for _, i in affordable]
    whole = [i for i in one.records.all if i.n == HOLDOUT]
    assert {i.subnetwork for i in whole} >= {i.subnetwork for i in again}
    assert one.found.winner.loss == min(i.loss for i in whole if fills_budget(space, one.budget, i.subnetwork.widths))


def test_every_evaluation_on_the_sample_is_among_the_interims(tmp_path: Path) -> None:
    one = run(tmp_path)
    assert {i.subnetwork for i in one.found.interims} == {i.subnetwork for i in one.records.all if i.n == SAMPLE}
    assert all(interim.n == SAMPLE for interim in one.found.interims)
    assert len(set(one.found.interims)) == len(one.found.interims)
    assert one.found.interims[0].subnetwork == one.records.net.dense
    assert one.found.front == pareto_front(one.found.interims)
    assert one.found.coarse_best in one.found.interims
    assert one.found.coarse_best.macs <= one.budget.macs


def test_the_fine_search_is_no_worse_than_where_it_began(tmp_path: Path) -> None:
    one = run(tmp_path)
    begun = one.records.evaluate(one.found.coarse_best.subnetwork, "start", HOLDOUT)
    assert one.found.winner.loss <= begun.loss


def test_progress_counts_up_to_what_was_promised(tmp_path: Path) -> None:
    told = run(tmp_path).told
    for stage in ("coarse search", "fine search", "final search"):
        counts = [(done, total) for what, done, total in told if what == stage]
        assert counts == [(i, len(counts)) for i in range(1, len(counts) + 1)]
    assert ("fine search", TRIALS, TRIALS) in told


def test_a_search_that_is_run_again_evaluates_nothing_and_finds_the_same(tmp_path: Path) -> None:
    first = run(tmp_path)
    lines = (tmp_path / "records.jsonl").read_text()
    again = run(tmp_path)
    assert again.found.winner == first.found.winner
    assert again.found.coarse_best == first.found.coarse_best
    assert again.found.interims == first.found.interims
    assert (tmp_path / "records.jsonl").read_text() == lines


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """The folder of a search, and what it found."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder)


@pytest.fixture
def copy(finished: tuple[Path, Run], tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(finished[0], tmp_path / "copy"))


@pytest.mark.parametrize("damage", ["gone", "zeros"])
def test_a_lost_study_is_replayed_from_the_records_with_the_same_result(
    finished: tuple[Path, Run], copy: Path, damage: str
) -> None:
    lines, path = (copy / "records.jsonl").read_text(), copy / "study.db"
    if damage == "gone":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + bytes(4096) + whole[8192:])
    again = run(copy)
    assert again.found.winner == finished[1].found.winner
    assert again.found.interims == finished[1].found.interims
    assert (copy / "records.jsonl").read_text() == lines
    assert again.told[0][0] == "study.db is damaged or not there: the search is replayed from its records"


WHAT, ATTRIBUTE = r"trial \d+ of the study is damaged", "trial_user_attributes SET"


@pytest.mark.parametrize(
    ("change", "useful"),
    [
        ("trial_params SET param_value = param_value + 1", rf"{WHAT} \(it is not what was evaluated\)"),
        ("trial_values SET value = value * 2", rf"{WHAT} \(it is not what was evaluated\)"),
        (f"{ATTRIBUTE} value_json = replace(value_json, '0', '1') WHERE key = 'interim'", rf"{WHAT}: it is no eval"),
        (f"{ATTRIBUTE} key = 'interin' WHERE key = 'interim'", rf"{WHAT}: it is no evaluation"),
        (f"{ATTRIBUTE} value_json = '{{' WHERE key = 'interim'", "cannot be read or written"),
    ],
)
def test_a_changed_trial_is_named_instead_of_used(copy: Path, change: str, useful: str) -> None:
    with closing(sqlite3.connect(copy / "study.db")) as connection:
        connection.execute(f"UPDATE {change}")
        connection.commit()
    with pytest.raises(SecateurError, match=useful) as caught:
        run(copy)
    assert "study.db can be deleted, and" in str(caught.value) or "delete the run's study.db" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_search_that_was_stopped_and_taken_up_finds_the_same(tmp_path: Path) -> None:
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder in folders:
        folder.mkdir()
    whole = run(folders[0])
    stops = [("coarse search", 3), ("fine search", 2)]

    def stop(what: str, done: int, total: int) -> None:
        if (what, done) in stops:
            stops.remove((what, done))
            raise KeyboardInterrupt

    for _ in range(2):
        records = Records(toy(), noise(), folders[1] / "records.jsonl")
        config = asked(BudgetRange(whole.budget, whole.budget), TRIALS)
        with pytest.raises(KeyboardInterrupt):
            follow(search_widths(records, config, folders[1]), stop)
    again = run(folders[1])
    assert again.found.winner == whole.found.winner
    assert again.found.interims == whole.found.interims


def test_training_and_test_data_are_never_read(tmp_path: Path) -> None:
    data = Data("toy", unreadable(), noise(), unreadable(), ("a", "b", "c", "d"))
    net = toy()
    limit = net.budget("50%")
    searched(Records(net, data.holdout), asked(BudgetRange(limit, limit), 1), tmp_path)


def test_no_weight_is_trained(tmp_path: Path) -> None:
    net = toy()
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    run(tmp_path, trials=1, records=Records(net, noise()))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.model.state_dict().items())


def test_a_subnetwork_whose_loss_is_no_number_never_wins(tmp_path: Path) -> None:
    def overflowing(model: nn.Module, split: Split, images: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Of every subnetwork whose first width is even, but for the dense one."""
        width = len(model.get_parameter("0.weight"))
        for losses, right in task_loss(model, split, images):
            yield losses if width % 2 or width == 10 else losses * math.nan, right

    records = Records(toy(), noise(), tmp_path / "records.jsonl", evaluation=overflowing)
    one = run(tmp_path, trials=6, records=records)
    assert any(math.isnan(interim.loss) for interim in one.found.interims)
    assert one.found.winner.loss == one.found.winner.loss
    assert all(interim.loss == interim.loss for interim in one.found.front)


class Misled(Records):
    """Trials look better than they are: nothing is lost on the sample, much on the whole holdout."""

    def evaluate(self, subnetwork: Subnetwork, source: str, images: int, rival: Interim | None = None) -> Interim:
        interim = super().evaluate(subnetwork, source, images, rival)
        seeming = {SAMPLE: 0.0, HOLDOUT: 9.0}
        if interim.source == "refine":
            self._known[subnetwork, images] = interim = replace(interim, loss=seeming[images])
        return interim


def test_the_winner_is_no_worse_than_the_best_coarse_proposal_on_the_whole_holdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FINALISTS", 1)
    net = toy()
    found = searched(Misled(net, noise()), asked(net.span("50%"), 12), tmp_path)
    start = Records(net, noise()).evaluate(found.coarse_best.subnetwork, "start", HOLDOUT)
    assert found.winner.loss <= start.loss


def test_a_span_is_searched_at_once_and_its_winner_is_at_the_lower_end(tmp_path: Path) -> None:
    net = toy()
    records, span = Records(net, noise()), net.span("40%..80%")
    found = searched(records, asked(span, 4), tmp_path)
    assert fills_budget(net.space, span.low, found.winner.subnetwork.widths)
    assert fills_budget(net.space, span.low, found.coarse_best.subnetwork.widths)
    refined = [each.macs for each in found.interims if each.source == "refine"]
    assert refined
    assert span.low.macs < max(refined) <= span.high.macs


def test_the_greedy_loop_can_stand_in_for_a_sampler(tmp_path: Path) -> None:
    net = toy()
    records, span = Records(net, noise()), net.span("50%")
    found = searched(records, asked(span, 6, sampler=Greedy()), tmp_path)
    assert 1 <= sum(each.source == "greedy" for each in found.interims) <= 6
    assert fills_budget(net.space, span.low, found.winner.subnetwork.widths)


def test_the_greedy_loop_reads_the_importance_that_it_is_passed(tmp_path: Path) -> None:
    def first(net: Supernet, split: Split) -> Scores:
        """The first channels matter most."""
        return [-np.arange(float(group.width)) for group in net.groups]

    found = searched(Records(toy(), noise()), asked(toy().span("50%"), 4, sampler=Greedy(first)), tmp_path)
    tried = [each.subnetwork for each in found.interims if each.source == "greedy"]
    assert tried
    assert all(each == Subnetwork.first(each.widths) for each in tried)


def test_known_widths_are_fitted_to_the_budget_and_are_starts(tmp_path: Path) -> None:
    net = toy()
    span, shares = net.span("50%"), np.array([1.0, 0.2, 0.6])
    (tmp_path / "cold").mkdir()
    found = searched(Records(net, noise()), asked(span, 0, start_shares=[shares]), tmp_path)
    wanted = fit_to_budget(net.space, span.low, shares * net.space.dense)
    evaluated = [each.subnetwork.widths.tolist() for each in found.interims]
    assert wanted.tolist() in evaluated
    cold = searched(Records(net, noise()), asked(span, 0), tmp_path / "cold")
    assert wanted.tolist() not in [each.subnetwork.widths.tolist() for each in cold.interims]


def test_a_users_scores_rules_and_curves_propose_the_subnetworks(tmp_path: Path) -> None:
    net = toy()

    def last(net: Supernet, split: Split) -> Scores:
        """The last channels matter most."""
        return [np.arange(float(group.width)) for group in net.groups]

    def widest_first(space: Space, budget: Budget, scores: Sequence[FloatArray]) -> IntArray:
        return fit_to_budget(space, budget, np.array([100, 1, 1]))

    def flat(records: Records) -> list[FloatArray]:
        return [np.zeros(group.width + 1) for group in records.net.groups]

    records, span = Records(net, noise()), net.span("50%")
    config = asked(span, 2, scores={"last": last}, rules={"mine": widest_first}, curves={"flat": flat})
    found = searched(records, config, tmp_path)
    sources = {each.source for each in found.interims}
    assert sources == {"dense", "last mine", "last flat error_per_mac", "last flat common_degradation", "refine"}
    for interim in found.interims:
        first = [kept[0] for kept in interim.subnetwork.kept]
        assert first == (net.space.dense - interim.subnetwork.widths).tolist()
    mine = [each for each in found.interims if each.source == "last mine"]
    assert all(each.subnetwork.widths[0] == net.space.dense[0] for each in mine)


def narrowness(model: nn.Module, split: Split, images: int) -> float:
    """Not a loss at all: the width of the last group."""
    return float(len(model.get_parameter("6.weight")))


def test_a_users_score_of_one_number_is_what_the_search_minimises(tmp_path: Path) -> None:
    records, span = Records(toy(), noise(), evaluation=narrowness), toy().span("50%")
    found = searched(records, asked(span, 12), tmp_path)
    assert found.winner.loss == found.winner.subnetwork.widths[2]
    assert found.winner.loss < found.interims[0].loss == 8
    assert found.stopped == ()
    assert found.winner.accuracy is not None
    assert math.isnan(found.winner.accuracy)


def test_a_users_score_of_each_image_ends_the_evaluations_of_worse_trials_early(tmp_path: Path) -> None:
    def brier(model: nn.Module, split: Split, images: int) -> Iterator[Tensor]:
        """Above 0 for subnetworks whose first width is even; a little noise over the images."""
        worse = float(len(model.get_parameter("0.weight")) % 2 == 0)
        for batch in split.batches(50, images):
            yield worse + 1e-3 * batch.images.flatten(1).mean(1)

    records = Records(toy(), noise(600), evaluation=brier)
    found = searched(records, replace(asked(toy().span("50%"), 12), images=600), tmp_path)
    assert found.winner.subnetwork.widths[0] % 2 == 1
    assert found.stopped
    assert {each.n for each in found.stopped} == {250}


def test_the_studies_of_other_scores_have_other_names(tmp_path: Path) -> None:
    net = toy()
    for scores in (None, {"mine": l1}):
        searched(Records(net, noise()), asked(net.span("50%"), 1, scores=scores), tmp_path)
    names = optuna.get_all_study_names(f"sqlite:///{tmp_path / 'study.db'}")
    assert len(set(names)) == 6
    assert sum(", scores mine" in name for name in names) == 3


def test_known_widths_are_starts_everywhere_in_a_span() -> None:
    space, span, shares = toy().space, toy().span("40%..80%"), np.array([1.0, 0.2, 0.6])
    found = module._starts(space, [], asked(span, 0, start_shares=[shares]))
    wanted = [fit_to_budget(space, span.at(share), shares * space.dense) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert [each.tolist() for each in found] == [each.tolist() for each in wanted]


def test_proposals_outside_the_span_are_no_starts() -> None:
    net = toy()
    widths = [np.full_like(net.space.dense, width) for width in (2, 3)]
    inside, outside = (
        Proposal("mine", "rule", net.budget(share), Subnetwork.first(each))
        for share, each in zip(("60%", "90%"), widths, strict=True)
    )
    found = module._starts(net.space, [outside, inside], asked(net.span("40%..80%"), 0))
    assert [each.tolist() for each in found] == [widths[0].tolist()]
