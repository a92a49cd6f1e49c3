"""A ResNet-56 search that starts from one on ResNet-20 reaches the cold search's final loss in fewer evaluations?

CIFAR-10 (JPEG copy), 50% of MACs, trials scored on 1,000 holdout images. First ResNet-20 is searched (the donor). Then
ResNet-56, each arm with the same importance scores, counting every evaluation at the budget in order:

- cold: the coarse search's proposals, then the fine search from the best of them, as `secateur search` does;
- uniform: no coarse search, the fine search from uniform widths at the budget (control);
- reused: no coarse search, the fine search from the donor's widths over depth (`--start` alone);
- both: the coarse search, then the donor's widths beside its proposals, as `secateur search --start` does.

Printed: the best loss of each arm, and the evaluations that it took to reach the final loss of the cold arm. What the
donor cost is counted beside it, not in it: an archive has it already.

    python benchmarks/reuse.py CIFAR_FOLDER [--trials 40] [--donor-trials 40] [--seeds 0] [--out FOLDER]
"""

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from conditions import conditions
from trained import trained
from tuned import opened

from secateur.data import Data
from secateur.models.architecture import Architecture, architecture
from secateur.models.archive import shares
from secateur.models.atoms import FloatArray, IntArray
from secateur.models.budget import fit
from secateur.models.gram import grams
from secateur.models.subnetwork import strongest
from secateur.search.coarse import coarse_search
from secateur.search.importance import Scores
from secateur.search.interim import Interim, Records
from secateur.search.refine import RefineOptions, refine
from secateur.search.widths import SAMPLE, Plan, _importance, search_widths

RESULTS = Path(__file__).parent / "results"
BUDGET = "50%"


def donor(data: Data, trials: int, seed: int) -> tuple[Architecture, int, float]:
    """The winner of a search on ResNet-20, how many evaluations it took, and how many seconds."""
    net, began = trained("resnet20", data, check=False), time.perf_counter()
    records = Records(net, data.holdout, None, grams(net, data.train))
    with TemporaryDirectory() as folder:
        plan = Plan(net.span(BUDGET), trials, seed=seed)
        found = search_widths(records, plan, Path(folder), lambda what, done, total: None)
    winner = architecture(net, found.winner.subnetwork)
    return winner, len(found.interims), time.perf_counter() - began


class Arms:
    """What the arms on ResNet-56 share: the network, its statistics, its scores, and every evaluation made so far."""

    def __init__(self, data: Data) -> None:
        self.net = trained("resnet56", data, check=False)
        self.span, self.space = self.net.span(BUDGET), self.net.space
        self.records = Records(self.net, data.holdout, None, grams(self.net, data.train))
        self.records.evaluate(self.net.dense, "dense", SAMPLE)
        self.scores, self.curves = _importance(self.records)

    def coarse(self) -> tuple[list[Interim], list[IntArray], Scores]:
        """The proposals at the budget, their widths, and the scores that made the best of them."""
        found = list(coarse_search(self.records, self.scores, self.span, SAMPLE, self.curves))
        ours = [p for p in found if p.budget == self.span.low]
        best = min(ours, key=lambda p: p.interim.loss)
        return [p.interim for p in ours], [p.interim.subnetwork.widths for p in ours], self.scores[best.score]

    def fine(self, starts: Sequence[IntArray], scores: Scores, trials: int, seed: int) -> list[Interim]:
        """The starts and the trials, in order; a study of its own in memory."""
        begun = [self.records.evaluate(strongest(scores, start), "start", SAMPLE) for start in starts]
        options = RefineOptions(trials, SAMPLE, seed)
        return begun + list(refine(self.records, scores, starts, self.span, options))

    def fitted(self, wish: FloatArray) -> IntArray:
        """Shares of the groups at the budget."""
        return fit(self.space, self.span.low, wish * self.space.dense)


def arms(shared: Arms, record: Architecture, trials: int, seed: int) -> dict[str, list[float]]:
    """The losses of each arm's evaluations at the budget, in order."""
    proposed, starts, scores = shared.coarse()
    reused = shared.fitted(shares(record, shared.net))
    uniform = shared.fitted(np.ones(len(shared.space.dense)))
    found = {
        "cold": [*proposed, *shared.fine(starts, scores, trials, seed)[len(starts) :]],
        "uniform": shared.fine([uniform], scores, trials, seed),
        "reused": shared.fine([reused], scores, trials, seed),
        "both": [*proposed, *shared.fine([*starts, reused], scores, trials, seed)[len(starts) :]],
    }
    return {name: [each.loss for each in interims] for name, interims in found.items()}


def reached(losses: Iterable[float], target: float) -> int | None:
    """After how many evaluations the best so far is ``target`` or lower."""
    return next((n for n, best in enumerate(accumulate(losses, min), 1) if best <= target), None)


def job(data: Data, trials: int, donor_trials: int, seed: int) -> dict[str, object]:
    """One seed."""
    record, evaluations, seconds = donor(data, donor_trials, seed)
    print(f"seed {seed}: donor, {evaluations} evaluations, {seconds:.0f} s", flush=True)
    began = time.perf_counter()
    losses = arms(Arms(data), record, trials, seed)
    target = min(losses["cold"])
    rows = {
        name: {"best": min(each), "first": each[0], "evaluations": len(each), "reached": reached(each, target)}
        for name, each in losses.items()
    }
    for name, row in rows.items():
        print(f"  {name:8} {row}", flush=True)
    costs = {"donor": {"evaluations": evaluations, "seconds": round(seconds)}}
    return {**costs, "seconds": round(time.perf_counter() - began), "arms": rows, "losses": losses}


def main() -> None:
    """Run, print, and write results/reuse.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--donor-trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    data = opened(asked.cifar)
    seeds = {str(seed): job(data, asked.trials, asked.donor_trials, seed) for seed in asked.seeds}
    result = {**conditions(), "budget": BUDGET, "images": SAMPLE, "trials": asked.trials, "seeds": seeds}
    (asked.out / "reuse.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
