import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from chains import plain
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor

from secateur.data.images import Images
from secateur.models.costs.budget import Budget
from secateur.models.costs.budget_range import BudgetRange
from secateur.models.costs.widths import Space
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.supernet import Supernet
from secateur.models.tracing.atoms import IntArray
from secateur.search.allocation import threshold, uniform
from secateur.search.config import SearchConfig
from secateur.search.importance.magnitude import l1
from secateur.search.importance.scores import Scores
from secateur.search.records import Interim, Records
from secateur.search.refine import fine_search as fine
from secateur.search.refine.fine_search import GOLDEN, MOVED, WINDOW, refine
from secateur.search.refine.incumbent import Incumbent
from secateur.search.samplers.samplers import SAMPLERS

IMAGES = 16


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


NET = plain((12, 16, 10, 14))
SCORES = l1(NET, Images(lambda chunks: iter(()), torch.zeros(0), (3, 8, 8)))
BUDGET = NET.budget("50%")
SPAN = BudgetRange(BUDGET, BUDGET)


class Counted(Records):
    """Records on random images, noting what was really evaluated."""

    def __init__(self, net: Supernet = NET) -> None:
        pixels = torch.randint(256, (IMAGES, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        self.forwards = 0

        def read(chunks: Sequence[Tensor]) -> Iterator[Tensor]:
            self.forwards += 1
            return (pixels[chunk] for chunk in chunks)

        super().__init__(net, Images(read, torch.arange(IMAGES) % 4, (3, 8, 8)))


def starts(net: Supernet = NET, scores: Scores = SCORES, budget: Budget = BUDGET) -> list[IntArray]:
    return [rule(net.space, budget, scores) for rule in (uniform, threshold)]


def asked(trials: int, storage: Path | None = None, span: BudgetRange = SPAN, **other: object) -> SearchConfig:
    url = f"sqlite:///{storage}" if storage else None
    return SearchConfig(span, trials, images=IMAGES, storage=url, **other)  # type: ignore[arg-type]


def search(
    trials: int, storage: Path | None = None, records: Records | None = None, **other: object
) -> Generator[Interim]:
    yield from refine(records or Counted(), SCORES, starts(), asked(trials, storage, SPAN, **other))


def widths(interims: Iterator[Interim]) -> list[list[int]]:
    return [interim.subnetwork.widths.tolist() for interim in interims]


def trials_of(storage: Path) -> list[FrozenTrial]:
    (name,) = optuna.get_all_study_names(f"sqlite:///{storage}")
    return optuna.load_study(study_name=name, storage=f"sqlite:///{storage}").get_trials()


def tight(space: Space, budget: Budget, chosen: IntArray) -> bool:
    """Within the budget, and a step wider in any group is not."""
    wider = space.wider(chosen)
    can = budget.holds(space.costs, wider) & (np.diag(wider) > chosen)
    return bool(budget.holds(space.costs, chosen)) and not can.any()


def random_sampler(seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def test_the_trials_of_the_study_are_the_widths_that_were_evaluated(tmp_path: Path) -> None:
    found = list(search(5, tmp_path / "study.db"))
    searched = [trial for trial in trials_of(tmp_path / "study.db") if not trial.user_attrs.get("start")]
    assert [list(trial.params.values()) for trial in searched] == widths(iter(found))
    assert [trial.value for trial in searched] == [interim.loss for interim in found]
    for trial, interim in zip(searched, found, strict=True):
        assert list(trial.params) == [group.name for group in NET.groups]
        assert trial.state is TrialState.COMPLETE
        kept = (interim.accuracy, interim.macs, interim.parameters)
        assert tuple(trial.user_attrs[name] for name in ("accuracy", "macs", "parameters")) == kept
        assert interim.subnetwork == top_channels(SCORES, interim.subnetwork.widths)
        assert interim.n == IMAGES


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_trial_meets_the_budget_to_the_last_channel(name: str) -> None:
    found = list(search(10, sampler=SAMPLERS[name]))
    assert len(found) == 10
    assert all(tight(NET.space, BUDGET, interim.subnetwork.widths) for interim in found)
    assert len({interim.subnetwork for interim in found}) > 3


def test_the_search_looks_around_the_best_start(monkeypatch: pytest.MonkeyPatch) -> None:
    records = Counted()
    best = min((records.evaluate(top_channels(SCORES, w), "start", IMAGES) for w in starts()), key=lambda i: i.loss)

    def away(window: float) -> float:
        """How far, in shares of the groups, trials lie from the best start."""
        monkeypatch.setattr("secateur.search.refine.fine_search.WINDOW", window)
        found = search(12, records=records, sampler=random_sampler)
        shares = [(i.subnetwork.widths - best.subnetwork.widths) / NET.space.dense for i in found]
        return float(np.abs(shares).mean())

    assert away(0) < away(WINDOW) < away(1)
    assert away(WINDOW) < 0.3


def test_the_starts_enter_once_as_finished_trials(tmp_path: Path) -> None:
    for trials in (0, 3, 5):  # begun, taken up, taken up again
        list(search(trials, tmp_path / "study.db"))
        entered = [trial for trial in trials_of(tmp_path / "study.db") if trial.user_attrs.get("start")]
        assert [list(trial.params.values()) for trial in entered] == [start.tolist() for start in starts()]
        records = Counted()
        for trial, start in zip(entered, starts(), strict=True):
            assert trial.state is TrialState.COMPLETE
            assert trial.value == records.evaluate(top_channels(SCORES, start), "start", IMAGES).loss
    assert len(trials_of(tmp_path / "study.db")) == 2 + 5


def test_starts_of_the_same_widths_are_one(tmp_path: Path) -> None:
    chosen = starts()[0]
    list(refine(Counted(), SCORES, [chosen, chosen.copy()], asked(2, tmp_path / "study.db")))
    assert [bool(trial.user_attrs.get("start")) for trial in trials_of(tmp_path / "study.db")] == [True, False, False]


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = widths(search(7, tmp_path / "whole.db"))
    parts: list[list[int]] = []
    for stop in (1, 4, 5):
        going = search(7, tmp_path / "parts.db")
        while len(parts) < stop:
            parts.append(next(going).subnetwork.widths.tolist())
        going.close()
    parts += widths(search(7, tmp_path / "parts.db"))
    assert parts == whole == widths(search(7))


class Killed(Records):
    """Ends in the middle of an evaluation, as a kill would."""

    after = 0

    def evaluate(self, subnetwork: Subnetwork, source: str, images: int, rival: Interim | None = None) -> Interim:
        if source == "refine":
            self.after -= 1
            if self.after < 0:
                raise KeyboardInterrupt
        return super().evaluate(subnetwork, source, images, rival)


def test_a_trial_that_was_interrupted_is_run_again_and_counts_once(tmp_path: Path) -> None:
    whole = widths(search(4))
    killed = Killed(NET, Counted().split)
    killed.after = 2
    going = search(4, tmp_path / "killed.db", killed)
    parts = widths(islice(going, 2))
    with pytest.raises(KeyboardInterrupt):
        next(going)
    lost, again = trials_of(tmp_path / "killed.db")[-2:]
    assert (lost.state, again.state) == (TrialState.FAIL, TrialState.WAITING)
    parts += widths(search(4, tmp_path / "killed.db"))
    states = [trial.state for trial in trials_of(tmp_path / "killed.db")]
    assert parts == whole
    assert (states.count(TrialState.FAIL), states.count(TrialState.COMPLETE)) == (1, 2 + 4)


class Hopeless(Counted):
    """Trials end at the first look, and would have gone on to a loss of 9."""

    def _scored(self, subnetwork: Subnetwork, source: str, n: int, rival: Interim | None) -> Interim:
        interim = super()._scored(subnetwork, source, n, None)
        if rival is None:
            return interim
        losses = np.frombuffer(rival.losses, np.float16)[: n // 2] + np.float16(0.5)
        return replace(interim, n=n // 2, loss=9.0, losses=losses.tobytes())


def test_a_trial_that_was_stopped_counts_with_the_loss_that_its_rival_lets_expect(tmp_path: Path) -> None:
    records = Hopeless()
    best = min((records.evaluate(top_channels(SCORES, w), "start", IMAGES) for w in starts()), key=lambda i: i.loss)
    found = list(search(3, tmp_path / "study.db", records))
    assert [interim.n for interim in found] == [IMAGES // 2] * 3
    trials = [trial for trial in trials_of(tmp_path / "study.db") if not trial.user_attrs.get("start")]
    assert [trial.value for trial in trials] == pytest.approx([best.loss + 0.5] * 3, abs=1e-3)


def over(span: BudgetRange, trials: int, storage: Path, records: Records | None = None) -> list[Interim]:
    chosen = [uniform(NET.space, span.at(share), SCORES) for share in (0.0, 0.5, 1.0)]
    return list(refine(records or Counted(), SCORES, chosen, asked(trials, storage, span)))


def test_over_a_span_every_trial_fills_a_budget_of_its_own(tmp_path: Path) -> None:
    span, dense = NET.span("40%..80%"), NET.macs(NET.dense)
    found = over(span, 16, tmp_path / "study.db")
    shares = [(interim.macs / dense - 0.4) / 0.4 for interim in found]
    for number, (share, interim) in enumerate(zip(shares, found, strict=True)):
        assert tight(NET.space, span.at((number * GOLDEN + 0.5) % 1), interim.subnetwork.widths)
        assert 0 <= share <= 1
    assert {int(4 * share) for share in shares} == {0, 1, 2, 3}  # everywhere in the span


def test_over_a_span_the_study_has_two_objectives(tmp_path: Path) -> None:
    found = over(NET.span("40%..80%"), 5, tmp_path / "study.db")
    trials = trials_of(tmp_path / "study.db")
    assert [trial.values for trial in trials[3:]] == [[interim.macs, interim.loss] for interim in found]
    areas = [trial.user_attrs["hypervolume"] for trial in trials[3:]]
    assert areas == sorted(areas)
    assert 0 < areas[-1] < 1


def test_a_trial_moves_few_groups_and_one_at_least() -> None:
    moved = np.array([fine._groups_to_move(30, seed) for seed in range(400)])
    assert moved.any(1).all()
    assert MOVED - 0.5 < moved.sum(1).mean() < MOVED + 1.5  # and the one that always is
    assert moved.any(0).all()
    assert fine._groups_to_move(3, 0).all()


@pytest.mark.parametrize("moved", range(len(NET.groups)))
def test_a_wish_counts_in_the_groups_that_a_trial_moves_and_the_others_share_what_it_leaves(moved: int) -> None:
    best = Counted().evaluate(top_channels(SCORES, starts()[0]), "start", IMAGES)
    centre, few = best.subnetwork.widths, np.arange(len(NET.groups)) == moved
    found = fine._fitted(NET.space, Incumbent(BUDGET, best), few, NET.space.min_widths)
    assert found[moved] < centre[moved]
    assert (found[~few] >= centre[~few]).all()


def test_a_search_over_a_span_goes_on_where_it_ended(tmp_path: Path) -> None:
    span = NET.span("40%..80%")
    whole = over(span, 6, tmp_path / "whole.db")
    records = Counted()
    parts = [*over(span, 2, tmp_path / "parts.db", records), *over(span, 6, tmp_path / "parts.db", records)]
    assert parts == whole


def test_the_best_that_meets_a_trials_budget_is_what_it_looks_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secateur.search.refine.fine_search.WINDOW", 0)  # one channel to each side
    records, span = Counted(), NET.span("40%..80%")
    met = [
        records.evaluate(top_channels(SCORES, uniform(NET.space, span.at(s), SCORES)), "start", IMAGES) for s in (0, 1)
    ]
    (interim,) = over(span, 1, tmp_path / "study.db", records)
    budget = span.at(0.5)
    near = [each for each in [*met, records.all[2]] if budget.holds(NET.space.costs, each.subnetwork.widths)]
    best = min(near, key=lambda each: each.loss).subnetwork.widths
    assert (interim.subnetwork.widths >= best - 1).all()  # filling may widen further


def test_the_seed_decides() -> None:
    one = widths(search(6, seed=1))
    assert one == widths(search(6, seed=1))
    assert one != widths(search(6, seed=2))


def test_another_sampler_searches_elsewhere() -> None:
    assert widths(search(6, sampler=random_sampler)) != widths(search(6))


def test_a_study_that_has_its_trials_yields_nothing(tmp_path: Path) -> None:
    for trials, more in ((0, 0), (2, 2), (2, 0), (0, 0), (3, 1)):
        assert len(list(search(trials, tmp_path / "study.db"))) == more


def test_the_same_widths_are_evaluated_once() -> None:
    records = Counted(plain((3, 4, 3)))  # few widths, so that proposals repeat
    net = records.net
    scores, budget = l1(net, records.split), net.budget("50%")
    chosen = starts(net, scores, budget)
    found = list(refine(records, scores, chosen, asked(25, span=BudgetRange(budget, budget))))
    different = {tuple(w.tolist()) for w in [*(i.subnetwork.widths for i in found), *chosen]}
    assert len(different) < len(found)
    assert records.forwards == len(different) == len(records.all)


def test_a_group_that_has_only_one_width_is_no_obstacle() -> None:
    net = plain((8, 16, 24), divisor=8)
    records = Counted(net)
    scores, budget = l1(net, records.split), net.budget("60%")
    config = asked(5, span=BudgetRange(budget, budget))
    found = list(refine(records, scores, starts(net, scores, budget), config))
    assert [interim.subnetwork.widths[0] for interim in found] == [8] * 5
    assert all(tight(net.space, budget, interim.subnetwork.widths) for interim in found)


class Broken(Counted):
    """Some evaluations overflow."""

    def evaluate(self, subnetwork: Subnetwork, source: str, images: int, rival: Interim | None = None) -> Interim:
        interim = super().evaluate(subnetwork, source, images, rival)
        overflows = subnetwork.widths[0] % 2 == 0
        return Interim(**{**interim.__dict__, "loss": math.nan}) if overflows else interim


def test_a_loss_that_is_no_number_does_not_stop_the_search(tmp_path: Path) -> None:
    found = list(islice(search(8, tmp_path / "study.db", Broken()), 20))
    assert len(found) == 8
    assert any(math.isnan(interim.loss) for interim in found)
    values = {trial.value for trial in trials_of(tmp_path / "study.db")}
    assert math.inf in values
    finite = [interim.loss for interim in found if interim.loss == interim.loss]
    assert all(any(value == loss for value in values) for loss in finite)


def test_the_study_can_be_read_by_any_optuna(tmp_path: Path) -> None:
    list(search(3, tmp_path / "study.db"))
    distributions = trials_of(tmp_path / "study.db")[-1].distributions
    limits = zip(NET.space.min_widths.tolist(), NET.space.dense.tolist(), strict=True)
    assert list(distributions.values()) == [IntDistribution(low, high) for low, high in limits]
