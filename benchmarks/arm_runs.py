"""Running the arms of transfer.py, each timed by itself.

Costs are seconds of processor time on one thread, so that another process on the machine does not count.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from arm_bench import Bench, Job
from arms import ARMS, CHAINS, VIEWS, Arm
from grail import grail
from links import chained
from torch import nn
from tuned import figures

from secateur.models.compensation.classifier import refit_classifier
from secateur.models.compensation.sequential import refit_sequentially
from secateur.models.evaluate import evaluate, recalibrate_as_trained
from secateur.models.subnetwork import Subnetwork
from secateur.models.surgery.copies import copied
from secateur.models.surgery.slim import slim
from secateur.pipeline.session import Session
from secateur.transfer.objectives.base import Objective
from secateur.transfer.training.train import train


def run(job: Job, bench: Bench, arms: Mapping[str, Arm] = ARMS) -> dict[str, Any]:
    """Train one arm, recalibrate, score; ``cost`` holds the seconds of its parts, and all of them in dense epochs.

    Holdout and test are read once, at the end; the weights are the last epoch's.
    """
    return run_chain(job, bench) if job.arm in CHAINS else run_arm(job, bench, arms[job.arm])


def run_chain(job: Job, bench: Bench) -> dict[str, Any]:
    """The same for a chain; its own searches, of a third of the trials each, are in its seconds."""
    dense_epoch, start = bench.dense_epoch, time.process_time()
    how = {"epochs": job.epochs, "seed": job.seed, "trials": bench.trials // 3}
    with TemporaryDirectory() as own:
        model, macs, links = chained(bench.session, CHAINS[job.arm], **how, folder=Path(own))
    return {**scored(model, macs, {"all": time.process_time() - start}, bench, dense_epoch), "links": links}


def scored(model: nn.Module, macs: int, parts: dict[str, float], bench: Bench, dense_epoch: float) -> dict[str, Any]:
    """Figures and costs of a network that is trained."""
    cost = {name: round(seconds, 1) for name, seconds in parts.items()}
    cost["dense epochs"] = round(sum(parts.values()) / dense_epoch, 2)
    scores = {split: figures(evaluate(model, getattr(bench.data, split))) for split in ("holdout", "test")}
    return {"macs": macs, **scores, "cost": cost}


def run_arm(job: Job, bench: Bench, arm: Arm) -> dict[str, Any]:
    """The same for an arm that is no chain."""
    session = bench.session
    subnetwork, dense_epoch = bench.subnetwork(arm.widths), bench.dense_epoch
    with TemporaryDirectory() as own:
        bank = bench.growing(arm.views, Path(own)) if arm.views else bench.bank(arm.teachers, Path(own))
        start = time.process_time()
        model = student(arm, session, subnetwork)
        began = time.process_time()
        objective = arm.objective(session.context(model, subnetwork, bank=bank, seed=job.seed))
        spend(job, arm, session, model, objective)
        recalibrate_as_trained(model, bench.data.train)
    parts = {"start": began - start, "training": time.process_time() - began}
    chosen = "search" if arm.widths == "searched" else arm.widths
    if chosen in bench.seconds:
        parts["search"] = bench.seconds[chosen]
    if arm.teachers:
        parts["bank"] = bench.seconds[f"bank of {arm.teachers}"]
    macs = session.net.macs(subnetwork)
    return {**scored(model, macs, parts, bench, dense_epoch), **objective.metrics()}


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
    model = session.initial_student(subnetwork)
    if arm.start == "ridge":
        refit_classifier(net, model, session.data.train)
    return model


def spend(job: Job, arm: Arm, session: Session, model: nn.Module, objective: Objective) -> None:
    """Train for the epochs of a job, in place."""
    views = arm.views or (VIEWS if arm.teachers else 0)
    changes = {"epochs": job.epochs, "seed": job.seed, "fixed_views": views, **arm.recipe}
    recipe = session.recipe(**changes)
    for step in train(model, session.data.train, objective, recipe, head=session.net.head):
        if step.step % 50 == 0 or step.step == step.steps:
            print(f"{job.arm}, seed {job.seed}: {step.step}/{step.steps}, loss {step.loss:.3f}", end="\r", flush=True)
