"""Arms of fine-tuning on a GPU, several side by side, each step one CUDA graph: ResNets on CIFAR-10 (JPEG copy).

    python benchmarks/gpu.py CIFAR_FOLDER --kept FOLDER --search 60% 50%   # once, anywhere: choose the channels
    python benchmarks/gpu.py CIFAR_FOLDER --kept FOLDER [--net resnet56] [--arms ce kd aligned] [--seeds 0 1 2]
        [--epochs 40] [--side-by-side 3] [--minutes 8] [--out FOLDER]

First, on a GPU: a graphed step ends within 1% of an eager one's way from it (else nothing runs), and an epoch of both
is timed. Then every arm of every budget in ``--kept``: the start of fine-tuning, the recipe of the product, statistics
measured again, holdout and test read once, the last epoch's weights. A row is kept in results/gpu.jsonl as it ends;
what is there is not run again, and no arm begins after ``--minutes``. Seconds are of the wall, of all that ran side by
side, capture included.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from arm_bench import Job, key
from arms import aligned, kd, labels_alone
from conditions import conditions
from resident import Resident, ResidentTraining, apart, train_together
from trained import WEIGHTS, trained
from tuned import figures, finished, keep, opened

from secateur.models.evaluate import evaluate, recalibrate_as_trained
from secateur.models.subnetwork import Subnetwork
from secateur.models.surgery.copies import copied
from secateur.pipeline.session import Session
from secateur.search.config import SearchConfig
from secateur.transfer.methods import MethodContext
from secateur.transfer.objectives.base import Objective

OBJECTIVES: dict[str, Callable[[MethodContext], Objective]] = {
    "ce": labels_alone,
    "kd": kd,
    "aligned": partial(aligned, map_weight=5.0),
}
LIKE = 0.01  # of the way of an eager step: how far a graphed one may end from it
RESULTS = Path(__file__).parent / "results"


class GpuBench:
    """One network and its images, on the GPU where there is one."""

    def __init__(self, name: str, cifar: str, folder: Path, weights: Path = WEIGHTS) -> None:
        self.name, self.folder = name, folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        data = opened(cifar)
        self.session = Session(trained(name, data, weights, device=self.device), data, folder)
        self.resident = Resident.of(self.session.images.train, self.device)

    def kept(self, budget: str) -> Path:
        """The file of the channels that stay."""
        return self.folder / f"{self.name}-{budget.rstrip('%')}.json"

    def search(self, budget: str, trials: int) -> None:
        """Choose the channels by the product's search."""
        found = self.session.search(SearchConfig(self.session.net.span(budget), trials))
        self.kept(budget).write_text(found.winner.subnetwork.to_json())

    def training(self, job: Job, *, graphed: bool) -> ResidentTraining:
        """A training that has not begun."""
        session, subnetwork = self.session, Subnetwork.from_json(self.kept(job.budget).read_text())
        model = session.initial_student(subnetwork).to(self.device).to(memory_format=torch.channels_last)
        objective = OBJECTIVES[job.arm](session.context(model, subnetwork, bank=None, seed=job.seed))
        recipe = session.recipe(epochs=job.epochs, seed=job.seed)
        return ResidentTraining(model, self.resident, objective, recipe, head=session.net.head, graphed=graphed)

    def run(self, jobs: Sequence[Job], path: Path) -> None:
        """Train side by side, score, and keep the results."""
        start = time.perf_counter()
        trainings = [self.training(job, graphed=self.device.type == "cuda") for job in jobs]
        train_together(trainings)
        seconds = round(time.perf_counter() - start, 2)
        for job, each in zip(jobs, trainings, strict=True):
            recalibrate_as_trained(each.model, self.session.data.train)
            splits = {split: getattr(self.session.data, split) for split in ("holdout", "test")}
            scores = {name: figures(evaluate(each.model, split)) for name, split in splits.items()}
            loss = float(each.losses) / each.done
            keep(path, key(job), {**scores, "loss": round(loss, 4), "seconds": seconds, "side_by_side": len(jobs)})
            print(key(job), scores["test"]["accuracy"], f"{seconds} s", flush=True)

    def compare(self, job: Job) -> dict[str, float]:
        """How far apart a first step ends, eager and graphed, and the seconds of the rest of the epoch."""
        eager, graphed = (self.training(job, graphed=each) for each in (False, True))
        start = copied(eager.model, {})
        for each in (eager, graphed):
            each.step()
        if (gap := apart(graphed.model, eager.model, start)) > LIKE:
            raise SystemExit(f"a graphed step ends {gap:.1%} of its way from an eager one; no arm is run")
        return {"apart": gap, "eager": seconds_of(eager), "graphed": seconds_of(graphed)}


def seconds_of(training: ResidentTraining) -> float:
    """The seconds of what is left of a training."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    train_together([training])
    return round(time.perf_counter() - start, 3)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--kept", type=Path, required=True, help="a folder for the channels that stay")
    parser.add_argument("--search", nargs="+", metavar="BUDGET", help="choose them, and train nothing")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--net", default="resnet56", choices=["resnet20", "resnet56"])
    parser.add_argument("--budgets", nargs="+", default=["50%"])
    parser.add_argument("--arms", nargs="+", default=list(OBJECTIVES), choices=OBJECTIVES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--side-by-side", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    """Search, or run what is missing."""
    asked, began = arguments(), time.perf_counter()
    asked.kept.mkdir(parents=True, exist_ok=True)
    bench = GpuBench(asked.net, asked.cifar, asked.kept, asked.weights)
    for budget in asked.search or ():
        bench.search(budget, asked.trials)
    if asked.search:
        return
    path: Path = asked.out / "gpu.jsonl"
    order = product(asked.budgets, asked.seeds, asked.arms)
    jobs = [Job(asked.net, budget, arm, asked.epochs, seed) for budget, seed, arm in order]
    about: dict[str, Any] = conditions()
    if bench.device.type == "cuda":
        about |= {"device": torch.cuda.get_device_name(), "epoch": bench.compare(replace(jobs[0], epochs=1))}
        print(about, flush=True)
    missing = [job for job in jobs if key(job) not in finished(path)]
    for first in range(0, len(missing), asked.side_by_side):
        if time.perf_counter() - began < 60 * asked.minutes:
            bench.run(missing[first : first + asked.side_by_side], path)
    rows = [{**json.loads(job), **result} for job, result in finished(path).items()]
    (asked.out / "gpu.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
