"""What a pruned network is worth before any training: ResNet-20 and ResNet-56 on CIFAR-10 (JPEG copy).

At each budget, test accuracy (10,000 images) and seconds of: the dense network; uniform widths with the filters of L1,
raw, with GRAIL's compensation (``grail.py``), compensated from Grams alone and in sequence; and the best of the coarse
search's proposals, on 1,000 holdout images, in sequence. All are recalibrated on the same 4,000 train images, and
compensated by the statistics of the same 1,000. One thread, no gradient step, but for the scores of the proposals.

    python benchmarks/compensation.py CIFAR_FOLDER [--nets resnet20 resnet56] [--budgets 50% 60% 70% 80%] [--draw]

Each arm runs once and is kept as a line of results/compensation.jsonl, so that this can be stopped; the table of what
is there goes to results/compensation.json.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from conditions import conditions
from grail import grail
from torch import nn
from trained import trained
from tuned import figures, finished, keep, opened

from secateur.models.compensation.ridge import refit
from secateur.models.compensation.sequential import refit_sequentially
from secateur.models.costs.widths import uniform_widths
from secateur.models.evaluate import evaluate, recalibrate
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.surgery.copies import copied
from secateur.models.surgery.slim import slim
from secateur.pipeline.session import Session
from secateur.search.config import SearchConfig
from secateur.search.importance.magnitude import l1

RESULTS = Path(__file__).parent / "results"
COMPENSATED: dict[str, Callable[[Session, Subnetwork], nn.Module]] = {
    "raw": lambda session, kept: slim(session.net, kept),
    "GRAIL": lambda session, kept: grail(session.net, kept, session.grams),
    "from Grams": lambda session, kept: refit(session.net, kept, session.grams),
    "in sequence": lambda session, kept: refit_sequentially(session.net, kept, session.grams, session.data.train),
}


@dataclass(frozen=True)
class Job:
    """One network at one budget; ``start``: how it is compensated."""

    net: str
    budget: str
    widths: str
    start: str


@dataclass(frozen=True, eq=False)
class Bench:
    """A dense network, and the subnetworks that are compared."""

    session: Session

    @cached_property
    def scores(self) -> Any:
        """L1 of every filter."""
        return l1(self.session.net, self.session.data.holdout)

    def chosen(self, job: Job) -> Subnetwork:
        """The subnetwork of a job."""
        net = self.session.net
        if job.widths == "dense":
            return net.dense
        if job.widths == "uniform":
            return top_channels(self.scores, uniform_widths(net.space, net.budget(job.budget)))
        return self.session.search(SearchConfig(net.span(job.budget), 0)).coarse_best.subnetwork

    def run(self, job: Job) -> dict[str, Any]:
        """Its MACs, its score on test, and the seconds to choose and to make it."""
        began = time.process_time()
        kept = self.chosen(job)
        chosen = time.process_time()
        make = COMPENSATED[job.start]
        model = copied(self.session.net.model, {}) if job.widths == "dense" else make(self.session, kept)
        seconds = {"choosing": round(chosen - began, 1), "making": round(time.process_time() - chosen, 1)}
        if job.widths != "dense":
            recalibrate(model, self.session.data.train)
        return {
            "macs": self.session.net.macs(kept),
            "test": figures(evaluate(model, self.session.data.test)),
            "seconds": seconds,
        }


def jobs(net: str, budgets: list[str]) -> Iterator[Job]:
    """What is compared on a network."""
    yield Job(net, "100%", "dense", "raw")
    for budget, start in product(budgets, COMPENSATED):
        yield Job(net, budget, "uniform", start)
        if start == "in sequence":
            yield Job(net, budget, "coarse search", start)


def measure(net: str, cifar: str, budgets: list[str], path: Path) -> None:
    """Run what a file of lines lacks of a network."""
    data = opened(cifar)
    with TemporaryDirectory() as folder:
        bench = Bench(Session(trained(net, data), data, Path(folder)))
        _ = bench.session.grams  # gathered before any arm is timed
        for job in jobs(net, budgets):
            key = json.dumps(asdict(job))
            if key not in finished(path):
                keep(path, key, bench.run(job))
                print(key, finished(path)[key], flush=True)


def main() -> None:
    """Run what is missing, and write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--nets", nargs="+", default=["resnet20", "resnet56"])
    parser.add_argument("--budgets", nargs="+", default=["50%", "60%", "70%", "80%"])
    parser.add_argument("--draw", action="store_true", help="run nothing more")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    path = asked.out / "compensation.jsonl"
    for net in asked.nets if not asked.draw else ():
        measure(net, asked.cifar, asked.budgets, path)
    rows = [{**json.loads(job), **result} for job, result in finished(path).items()]
    (asked.out / "compensation.json").write_text(json.dumps({**conditions(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
