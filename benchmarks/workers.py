"""What sharing a search gives, and what Optuna itself takes. ResNet-56, all groups, 50% of MACs, random images.

``workers``: evaluations a second of one process and of two on one SQLite study, one thread each, in turn, ``--repeats``
times; 1,000 images of noise an evaluation, nothing stopped early. ``overhead``: seconds a trial that Optuna and the
study take (everything but the evaluation) from trial to trial of one long search over 40 groups, for TPE, NSGA-II and
random, as a share of the seconds of one evaluation by one process above; ``gp`` for fewer trials.

    python benchmarks/workers.py [--trials 12] [--repeats 3] [--long 1000] [--samplers tpe ...] [--out FOLDER]

Targets, printed and written, never enforced: two processes at least 1.7 times one; overhead at most 10%.
"""

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from conditions import conditions
from torch import Tensor, nn

import secateur as sc
from secateur.allocator import keep_freed
from secateur.data.images import Images
from secateur.models.costs.budget_range import BudgetRange
from secateur.models.subnetwork import Subnetwork
from secateur.search.allocation import uniform
from secateur.search.config import SearchConfig
from secateur.search.importance.magnitude import l1
from secateur.search.records import Interim, Records
from secateur.search.refine.fine_search import refine
from secateur.search.samplers.samplers import SAMPLERS

RESULTS = Path(__file__).parent / "results"
IMAGES, GROUPS = 1000, 40
TIMES, SHARE = 1.7, 0.10  # the targets


def noise(count: int) -> Images:
    """Images without meaning."""
    pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def read(chunks: list[Tensor]) -> list[Tensor]:
        return [pixels[chunk] for chunk in chunks]

    return Images(read, torch.arange(count) % 10, (3, 32, 32))  # type: ignore[arg-type]


class Whole(Records):
    """Stops nothing, so that every evaluation costs the same."""

    def evaluate(self, subnetwork: Subnetwork, source: str, images: int, rival: Interim | None = None) -> Interim:
        """Without a rival."""
        return super().evaluate(subnetwork, source, images)


class Free(Records):
    """An evaluation that costs nothing, and a loss that prefers some widths."""

    def _scored(self, subnetwork: Subnetwork, source: str, n: int, rival: Interim | None) -> Interim:
        loss = float(np.abs(np.sin(subnetwork.widths)).sum())
        return Interim(subnetwork, source, loss, 0.5, n, self.net.macs(subnetwork), self.net.parameters(subnetwork))


def searched(records: Records, url: str | None, trials: int, sampler: str) -> list[float]:
    """Trials from uniform widths; the seconds at which each ended."""
    net, budget = records.net, records.net.budget("50%")
    scores = l1(net, records.split)
    starts = [uniform(net.space, budget, scores)]
    span = BudgetRange(budget, budget)
    config = SearchConfig(span, trials, images=IMAGES, storage=url, sampler=SAMPLERS[sampler])
    return [time.perf_counter() for _ in refine(records, scores, starts, config)]


def worker(url: str, trials: int, ready: "multiprocessing.synchronize.Barrier") -> None:
    """One process of several: everything is made before the clock starts."""
    torch.set_num_threads(1)
    keep_freed()
    torch.manual_seed(0)  # or each would search a network of its own
    dense = sc.constructor("resnet56", 10)().eval()
    records = Whole(sc.Supernet.of(dense, torch.zeros(1, 3, 32, 32), check=False), noise(IMAGES))
    records.evaluate(records.net.dense, "dense", IMAGES)
    ready.wait()
    searched(records, url, trials, "tpe")
    ready.wait()


def rate(processes: int, trials: int) -> float:
    """Evaluations a second of so many processes on one study."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(processes + 1)
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/study.db"
        workers = [context.Process(target=worker, args=(url, trials, ready)) for _ in range(processes)]
        for each in workers:
            each.start()
        ready.wait()
        start = time.perf_counter()
        ready.wait()
        seconds = time.perf_counter() - start
        for each in workers:
            each.join()
    return trials / seconds


def plain(groups: int) -> sc.Supernet:
    """A chain of so many convolutions."""
    layers: list[nn.Module] = []
    for n in range(groups):
        layers += [nn.Conv2d(32 if n else 3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)).eval()
    return sc.Supernet.of(model, torch.zeros(1, 3, 32, 32), check=False)


def overhead(sampler: str, trials: int) -> dict[str, float]:
    """Seconds a trial of the study's own, over the first and the last tenth of a long search, and its mean."""
    records = Free(plain(GROUPS), noise(IMAGES))
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        ended = searched(records, f"sqlite:///{folder}/study.db", trials, sampler)
    each = np.diff([start, *ended])
    tenth = max(1, trials // 10)
    return {
        "trials": trials,
        "groups": len(records.net.groups),
        "mean": round(float(each.mean()), 4),
        "first_tenth": round(float(np.median(each[:tenth])), 4),
        "last_tenth": round(float(np.median(each[-tenth:])), 4),
    }


def main() -> None:
    """Run, print, and write benchmarks/results/workers.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--long", type=int, default=1000)
    parser.add_argument("--samplers", nargs="+", default=["tpe", "nsga2", "random", "gp"], choices=SAMPLERS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], 2: []}
    for processes in (1, 2) * asked.repeats:
        rates[processes].append(round(rate(processes, asked.trials), 3))
        print(f"{processes} processes: {rates[processes][-1]} evaluations a second", flush=True)
    times = median(two / one for one, two in zip(rates[1], rates[2], strict=True))
    evaluation = 1 / median(rates[1])
    own = {}
    for sampler in asked.samplers:
        own[sampler] = overhead(sampler, asked.long // 20 if sampler == "gp" else asked.long)
        own[sampler]["share_of_time"] = round(own[sampler]["mean"] / (own[sampler]["mean"] + evaluation), 3)
        print(sampler, own[sampler], flush=True)
    result = {
        **conditions(),
        "evaluations_a_second": rates,
        "times_faster": {"two": round(times, 2), "target": TIMES},
        "overhead": {**own, "target": SHARE},
    }
    print(f"two processes: {times:.2f} times one")
    (asked.out / "workers.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
