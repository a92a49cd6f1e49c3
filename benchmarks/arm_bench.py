"""What the arms of transfer.py share, made once and kept in a folder, with the seconds that it took."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from arms import VIEWS
from trained import WEIGHTS, trained
from tuned import opened, part

from secateur.data.dataset import Data
from secateur.models.costs.widths import uniform_widths
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.surgery.copies import copied
from secateur.pipeline.session import Session
from secateur.search.coarse_to_fine import Searched
from secateur.search.config import SearchConfig
from secateur.search.importance.magnitude import l1
from secateur.transfer.bank.bank import MemoryBank
from secateur.transfer.bank.fill import BankConfig
from secateur.transfer.bank.teachers import choose_teachers
from secateur.transfer.objectives.base import CrossEntropy
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

Made = TypeVar("Made")

STEPS = 20  # of the dense network, from which the seconds of its epoch are taken


@dataclass(frozen=True)
class Job:
    """One training: an arm, for so many epochs of the network that it ends with."""

    net: str
    budget: str
    arm: str
    epochs: int
    seed: int


@dataclass(frozen=True, eq=False)
class Bench:
    """One network on CIFAR-10 with what all arms share, in ``folder``.

    ``images``: of each split; 0: all.
    """

    name: str
    cifar: str
    folder: Path
    budget: str
    trials: int
    images: int
    weights: Path = WEIGHTS

    @cached_property
    def session(self) -> Session:
        """The dense network on the data."""
        data = opened(self.cifar)
        if self.images:
            train, holdout, test = (part(each, self.images) for each in (data.train, data.holdout, data.test))
            data = replace(data, train=train, holdout=holdout, test=test)
        self.folder.mkdir(parents=True, exist_ok=True)
        return Session(trained(self.name, data, self.weights), data, self.folder)

    @property
    def data(self) -> Data:
        """The images."""
        return self.session.data

    @cached_property
    def searched(self) -> Searched:
        """The search; one that is finished costs nothing."""
        net = self.session.net
        return self._timed("search", lambda: self.session.search(SearchConfig(net.span(self.budget), self.trials)))

    def subnetwork(self, widths: str) -> Subnetwork:
        """The searched winner, uniform widths with the filters of L1, or all."""
        net = self.session.net
        if widths == "uniform":
            return top_channels(l1(net, self.data.holdout), uniform_widths(net.space, net.budget(self.budget)))
        return net.dense if widths == "dense" else self.searched.winner.subnetwork

    def growing(self, views: int, own: Path) -> MemoryBank | None:
        """An empty bank of the dense network that training fills: each arm pays for its own."""
        config = BankConfig(views, bfloat16=self.session.bfloat16)
        dense, winner = self.session.net.dense, self.subnetwork("searched")
        alone = choose_teachers(self.searched.interims, dense, winner)[:1]
        return replace(self.session, folder=own).growing_bank(winner, config, lambda: alone)

    def bank(self, teachers: int, own: Path | None = None) -> MemoryBank | None:
        """A bank of the searched winner with so many teachers; one that is there costs nothing.

        ``own``: where the index of negatives goes, which is each arm's own.
        """
        if not teachers:
            return None
        config = BankConfig(VIEWS, bfloat16=self.session.bfloat16, teachers=teachers)
        session = replace(self.session, folder=self.folder / f"teachers-{teachers}")
        point = self.subnetwork("searched")
        bank = self._timed(f"bank of {teachers}", lambda: session.fill_bank(self.searched, point, config))
        return replace(bank, folder=own) if bank and own else bank

    @cached_property
    def dense_epoch(self) -> float:
        """Seconds of one epoch of the dense network by cross-entropy."""
        steps = train(copied(self.session.net.model, {}), self.data.train, CrossEntropy(), self.session.recipe())
        next(steps)
        count = min(STEPS, self.data.train.steps(Recipe.batch) - 1)
        once = self._timed("steps of the dense network", lambda: [next(steps) for _ in range(count)])
        return self.seconds["steps of the dense network"] / len(once) * self.data.train.steps(Recipe.batch)

    @property
    def seconds(self) -> dict[str, float]:
        """What the shared parts took when they were made."""
        path = self.folder / "seconds.json"
        found: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def _timed(self, name: str, make: Callable[[], Made]) -> Made:
        """What ``make`` makes; the seconds that it took the first time are kept under this name."""
        start = time.process_time()
        made = make()
        if name not in self.seconds:
            found = {**self.seconds, name: round(time.process_time() - start, 2)}
            (self.folder / "seconds.json").write_text(json.dumps(found))
        return made


def key(job: Job) -> str:
    """A job as one line of JSON."""
    return json.dumps(asdict(job))
