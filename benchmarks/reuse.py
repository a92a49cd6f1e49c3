"""Does a ResNet-56 search that starts from one on ResNet-20 need fewer evaluations than a cold one?

CIFAR-10 (JPEG copy), 50% of MACs, scored on 1,000 holdout images after compensation. First ResNet-20 is searched (the
donor: all proposals at the budget, then trials). Then ResNet-56, each arm with the same importance scores and records
of its own, its evaluations counted in order:

- cold: all coarse proposals at the budget, then trials of the fine search around the best so far;
- uniform: trials alone, from uniform widths at the budget (control);
- reused: trials alone, from the donor's widths over depth;
- both: the coarse proposals, then the donor's widths, then trials, as `--start` does.

Printed: the best loss of each arm, and after how many evaluations it was at or below the final loss of the cold arm.
A trial that is surely worse than the best so far ends early, and counts all the same. What the donor cost stands
beside: an archive has it already.

    python benchmarks/reuse.py CIFAR_FOLDER [--trials 15] [--seed 0] [--out FOLDER]
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from conditions import conditions
from trained import trained
from tuned import opened

import secateur as sc
from secateur.data.dataset import Data
from secateur.models.compensation.gram import Gram, grams
from secateur.models.costs.widths import fit_to_budget
from secateur.models.files.library import keep_shares
from secateur.models.files.schema import Architecture
from secateur.models.tracing.atoms import IntArray
from secateur.search.coarse import propose
from secateur.search.config import SAMPLE, SearchConfig
from secateur.search.evidence import default_evidence
from secateur.search.importance.scores import Scores
from secateur.search.records import Interim, Records
from secateur.search.refine.fine_search import refine

RESULTS = Path(__file__).parent / "results"
BUDGET = "50%"


@dataclass(frozen=True, eq=False)
class Place:
    """What the arms on one network share: statistics, proposals at the budget with their losses, the best one's scores.

    ``coarse`` holds the dense network first.
    """

    net: sc.Supernet
    data: Data
    known: dict[str, Gram]
    coarse: tuple[Interim, ...]
    scores: Scores

    @classmethod
    def of(cls, name: str, data: Data) -> "Place":
        """Of a trained network."""
        net = trained(name, data, check=False)
        known = grams(net, data.train)
        records = Records(net, data.holdout, grams=known)
        dense = records.evaluate(net.dense, "dense", SAMPLE)
        evidence = default_evidence(records)
        given = propose(net.space, [net.budget(BUDGET)], evidence)
        found = [records.evaluate(each.subnetwork, each.source, SAMPLE) for each in given]
        best, _ = min(zip(given, found, strict=True), key=lambda pair: pair[1].sort_loss)
        return cls(net, data, known, (dense, *found), evidence.scores[best.score])

    def searched(self, trials: int, seed: int, before: Sequence[Interim], starts: Sequence[IntArray]) -> list[Interim]:
        """All evaluations of an arm that knows some and goes on from these widths, in order, less the dense one."""
        records = Records(self.net, self.data.holdout, grams=self.known)
        for interim in (self.coarse[0], *before):
            records.add(interim)
        list(refine(records, self.scores, starts, SearchConfig(self.net.span(BUDGET), trials, seed=seed)))
        return records.all[1:]

    def fitted(self, wish: object) -> IntArray:
        """Shares of the groups at the budget. Shape: (G,) → (G,)"""
        return fit_to_budget(self.net.space, self.net.budget(BUDGET), np.asarray(wish) * self.net.space.dense)


def arms(place: Place, donor: Architecture, trials: int, seed: int) -> dict[str, list[Interim]]:
    """The evaluations of each arm."""
    proposed = place.coarse[1:]
    widths = [each.subnetwork.widths for each in proposed]
    reused, uniform = place.fitted(keep_shares(donor, place.net)), place.fitted(np.ones(len(place.net.groups)))
    plans = {
        "cold": (proposed, widths),
        "uniform": ((), [uniform]),
        "reused": ((), [reused]),
        "both": (proposed, [*widths, reused]),
    }
    return {name: place.searched(trials, seed, *plan) for name, plan in plans.items()}


def row(interims: Sequence[Interim], target: float) -> dict[str, object]:
    """How low an arm came, and after how many evaluations it met the target."""
    losses = [each.sort_loss if each.n == SAMPLE else float("inf") for each in interims]
    reached = next((n for n, best in enumerate(accumulate(losses, min), 1) if best <= target), None)
    figures = {"best": round(min(losses), 4), "first": round(losses[0], 4), "evaluations": len(losses)}
    stopped = sum(each.n < SAMPLE for each in interims)
    return {**figures, "stopped": stopped, "reached": reached, "losses": [round(each.loss, 4) for each in interims]}


def main() -> None:
    """Run, print, and write results/reuse.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    data, began = opened(asked.cifar), time.process_time()
    small = Place.of("resnet20", data)
    widths = [each.subnetwork.widths for each in small.coarse[1:]]
    found = small.searched(asked.trials, asked.seed, small.coarse[1:], widths)
    best = min((each for each in found if each.n == SAMPLE), key=lambda each: each.sort_loss)
    donor = {"evaluations": len(found), "loss": best.loss, "cpu_seconds": round(time.process_time() - began)}
    print(f"donor: {donor}", flush=True)
    done = arms(Place.of("resnet56", data), Architecture.of(small.net, best.subnetwork), asked.trials, asked.seed)
    target = min(each.sort_loss for each in done["cold"] if each.n == SAMPLE)
    rows = {name: row(interims, target) for name, interims in done.items()}
    for name, each in rows.items():
        print(f"{name:8}", {key: value for key, value in each.items() if key != "losses"}, flush=True)
    about = {**conditions(), "budget": BUDGET, "images": SAMPLE, "trials": asked.trials, "seed": asked.seed}
    result = {**about, "cpu_seconds": round(time.process_time() - began), "donor": donor, "arms": rows}
    (asked.out / "reuse.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
