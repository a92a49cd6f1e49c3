"""Running the arms of transfer.py: what they share is made once and kept in a folder, and each is timed by itself.

Costs are seconds of processor time on one thread, so that another process on the machine does not count.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from arms import ARMS, VIEWS, Arm
from grail import grail
from torch import nn
from trained import WEIGHTS, trained
from tuned import figures, opened, part

from secateur.data.dataset import Data
from secateur.models.compensation.sequential import refit_sequentially
from secateur.models.costs.widths import uniform_widths
from secateur.models.evaluate import evaluate, recalibrate_as_trained
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.surgery.copies import copied
from secateur.models.surgery.slim import slim
from secateur.pipeline.session import Session
from secateur.search.coarse_to_fine import Searched
from secateur.search.config import SearchConfig
from secateur.search.importance.magnitude import l1
from secateur.transfer.bank.bank import MemoryBank
from secateur.transfer.bank.fill import BankConfig
from secateur.transfer.objectives.base import CrossEntropy, Objective
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

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
            splits = {name: part(getattr(data, name), self.images) for name in ("train", "holdout", "test")}
            data = replace(data, **splits)
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

    def bank(self, teachers: int) -> MemoryBank | None:
        """A bank of the searched winner with so many teachers; one that is there costs nothing."""
        if not teachers:
            return None
        config = BankConfig(VIEWS, bfloat16=self.session.bfloat16, teachers=teachers)
        session = replace(self.session, folder=self.folder / f"teachers-{teachers}")
        point = self.subnetwork("searched")
        return self._timed(f"bank of {teachers}", lambda: session.fill_bank(self.searched, point, config))

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

    def _timed(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` makes; the seconds that it took the first time are kept under this name."""
        start = time.process_time()
        made = make()
        if name not in self.seconds:
            found = {**self.seconds, name: round(time.process_time() - start, 2)}
            (self.folder / "seconds.json").write_text(json.dumps(found))
        return made


def run(job: Job, bench: Bench, arms: Mapping[str, Arm] = ARMS) -> dict[str, Any]:
    """Train one of these arms, recalibrate, score.

    ``cost`` holds the seconds of its parts, and all of them in dense epochs. Holdout and test are read once, at the
    end; the weights are the last epoch's.
    """
    arm, session = arms[job.arm], bench.session
    subnetwork, bank, dense_epoch = bench.subnetwork(arm.widths), bench.bank(arm.teachers), bench.dense_epoch
    with TemporaryDirectory() as own:
        bank = replace(bank, folder=Path(own)) if bank else None  # the index of negatives is each arm's own
        start = time.process_time()
        model = student(arm, session, subnetwork)
        began = time.process_time()
        objective = arm.objective(session.context(model, subnetwork, bank, job.seed))
        spend(job, arm, session, model, objective)
        recalibrate_as_trained(model, bench.data.train)
    parts = {"start": began - start, "training": time.process_time() - began}
    chosen = "search" if arm.widths == "searched" else arm.widths
    if chosen in bench.seconds:
        parts["search"] = bench.seconds[chosen]
    if arm.teachers:
        parts["bank"] = bench.seconds[f"bank of {arm.teachers}"]
    cost = {name: round(seconds, 1) for name, seconds in parts.items()}
    cost["dense epochs"] = round(sum(parts.values()) / dense_epoch, 2)
    scores = {split: figures(evaluate(model, getattr(bench.data, split))) for split in ("holdout", "test")}
    return {"macs": session.net.macs(subnetwork), **scores, "cost": cost, **objective.metrics()}


def student(arm: Arm, session: Session, subnetwork: Subnetwork) -> nn.Module:
    """The network that an arm starts from."""
    net = session.net
    if arm.widths == "dense":
        return copied(net.model, {})
    if arm.start == "inherited":
        return slim(net, subnetwork)
    if arm.start == "grail":
        return grail(net, subnetwork, session.grams)
    if arm.start == "compensated":
        return refit_sequentially(net, subnetwork, session.grams, session.data.train)
    return session.initial_student(subnetwork)


def spend(job: Job, arm: Arm, session: Session, model: nn.Module, objective: Objective) -> None:
    """Train for the epochs of a job, in place."""
    changes = {"epochs": job.epochs, "seed": job.seed, "fixed_views": VIEWS if arm.teachers else 0, **arm.recipe}
    for step in train(model, session.data.train, objective, session.recipe(**changes), head=session.net.head):
        if step.step % 50 == 0 or step.step == step.steps:
            print(f"{job.arm}, seed {job.seed}: {step.step}/{step.steps}, loss {step.loss:.3f}", end="\r", flush=True)


def key(job: Job) -> str:
    """A job as one line of JSON."""
    return json.dumps(asdict(job))
