import math
from collections.abc import Iterator, Sequence
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
from secateur.models.costs.widths import fills_budget, fit_to_budget
from secateur.models.evaluate import image_losses
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.progress import silent
from secateur.search import coarse_to_fine as module
from secateur.search.coarse_to_fine import FINALISTS, Searched, SearchPlan, search_widths
from secateur.search.records import Interim, Records, pareto_front

HOLDOUT, SAMPLE, TRIALS = 48, 32, 3


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "SAMPLE", SAMPLE)
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
    plan = SearchPlan(BudgetRange(limit, limit), trials)
    found = search_widths(records, plan, folder, lambda *what: told.append(what))
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
    assert one.found.start in one.found.interims
    assert one.found.start.macs <= one.budget.macs


def test_the_fine_search_is_no_worse_than_where_it_began(tmp_path: Path) -> None:
    one = run(tmp_path)
    begun = one.records.evaluate(one.found.start.subnetwork, "start", HOLDOUT)
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
    assert again.found.start == first.found.start
    assert again.found.interims == first.found.interims
    assert (tmp_path / "records.jsonl").read_text() == lines


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
        with pytest.raises(KeyboardInterrupt):
            search_widths(records, SearchPlan(BudgetRange(whole.budget, whole.budget), TRIALS), folders[1], stop)
    again = run(folders[1])
    assert again.found.winner == whole.found.winner
    assert again.found.interims == whole.found.interims


def test_training_and_test_data_are_never_read(tmp_path: Path) -> None:
    data = Data("toy", unreadable(), noise(), unreadable(), ("a", "b", "c", "d"))
    net = toy()
    limit = net.budget("50%")
    search_widths(Records(net, data.holdout), SearchPlan(BudgetRange(limit, limit), 1), tmp_path, silent)


def test_no_weight_is_trained(tmp_path: Path) -> None:
    net = toy()
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    run(tmp_path, trials=1, records=Records(net, noise()))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.model.state_dict().items())


def test_a_subnetwork_whose_loss_is_no_number_never_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflowing(model: nn.Module, *given: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Of every subnetwork whose first width is even, but for the dense one."""
        width = len(model.get_parameter("0.weight"))
        for losses, right in image_losses(model, *given):
            yield losses if width % 2 or width == 10 else losses * math.nan, right

    monkeypatch.setattr("secateur.search.records.judged", overflowing)
    one = run(tmp_path, trials=6)
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
    found = search_widths(Misled(net, noise()), SearchPlan(net.span("50%"), 12), tmp_path, silent)
    start = Records(net, noise()).evaluate(found.start.subnetwork, "start", HOLDOUT)
    assert found.winner.loss <= start.loss


def test_a_span_is_searched_at_once_and_its_winner_is_at_the_lower_end(tmp_path: Path) -> None:
    net = toy()
    records, span = Records(net, noise()), net.span("40%..80%")
    found = search_widths(records, SearchPlan(span, 4), tmp_path, silent)
    assert fills_budget(net.space, span.low, found.winner.subnetwork.widths)
    assert fills_budget(net.space, span.low, found.start.subnetwork.widths)
    refined = [each.macs for each in found.interims if each.source == "refine"]
    assert refined
    assert span.low.macs < max(refined) <= span.high.macs


def test_the_greedy_loop_can_stand_in_for_a_sampler(tmp_path: Path) -> None:
    net = toy()
    records, span = Records(net, noise()), net.span("50%")
    found = search_widths(records, SearchPlan(span, 6, "greedy"), tmp_path, silent)
    assert 1 <= sum(each.source == "greedy" for each in found.interims) <= 6
    assert fills_budget(net.space, span.low, found.winner.subnetwork.widths)


def test_a_sampler_of_no_known_name_is_refused() -> None:
    with pytest.raises(
        SecateurError, match="no sampler is called 'bohb'; give tpe, cmaes, gp, nsga2, random or greedy"
    ):
        SearchPlan(toy().span("50%"), sampler="bohb")


def test_known_widths_are_fitted_to_the_budget_and_are_starts(tmp_path: Path) -> None:
    net = toy()
    span, shares = net.span("50%"), np.array([1.0, 0.2, 0.6])
    (tmp_path / "cold").mkdir()
    found = search_widths(Records(net, noise()), SearchPlan(span, 0, start_shares=[shares]), tmp_path, silent)
    wanted = fit_to_budget(net.space, span.low, shares * net.space.dense)
    evaluated = [each.subnetwork.widths.tolist() for each in found.interims]
    assert wanted.tolist() in evaluated
    cold = search_widths(Records(net, noise()), SearchPlan(span, 0), tmp_path / "cold", silent)
    assert wanted.tolist() not in [each.subnetwork.widths.tolist() for each in cold.interims]
