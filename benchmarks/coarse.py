"""How good a start each score with each allocation rule gives: CIFAR-10 (JPEG copy), no training, one thread.

Holdout loss and accuracy on 1,000 images with batch statistics at 60, 50, 45 and 28% of MACs, as the coarse search
proposes. Scores: L1, Taylor, and the order of second-order elimination (obs). Error curves for the rules that read
them: elimination, sums of removed Taylor scores, and sensitivity (each group alone at four widths, Taylor's order).
Then the greedy search with Taylor scores at each budget. Uniform widths in L1 order are the control. Grams and
gradients for obs are of 1,000 train images; everything else reads the holdout.

    python benchmarks/coarse.py CIFAR_FOLDER WEIGHTS_FOLDER [--nets resnet20 resnet56] [--budgets 60% 50% 45% 28%]
        [--compensate] [--no-sensitivity]
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from conditions import conditions
from trained import trained

import secateur as sc
from secateur.data.dataset import Data
from secateur.models.compensation.gram import Gram, grams
from secateur.models.subnetwork import top_channels
from secateur.models.tracing.atoms import FloatArray
from secateur.search.allocation import uniform
from secateur.search.coarse import propose
from secateur.search.evidence import Evidence
from secateur.search.greedy import greedy
from secateur.search.importance.magnitude import l1
from secateur.search.importance.scores import Scores
from secateur.search.importance.second_order import eliminations, fisher
from secateur.search.importance.taylor import taylor
from secateur.search.records import Interim, Records
from secateur.search.sensitivity import probe, sensitivity_curves

HERE = Path(__file__).parent
IMAGES = 1000
T = TypeVar("T")


class Clock:
    """Seconds that each thing took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, what: str, make: Callable[[], T]) -> T:
        """What ``make`` makes, timed."""
        start = time.perf_counter()
        made = make()
        self.seconds[what] = round(time.perf_counter() - start, 2)
        print(f"{what:24} {self.seconds[what]:8.1f} s", flush=True)
        return made


def summed(scores: Scores) -> list[FloatArray]:
    """Error curves out of scores: the sum over the channels that go, the lowest first."""
    return [np.append(np.cumsum(np.sort(score))[::-1], 0.0) for score in scores]


def evidence(
    net: sc.Supernet, data: Data, records: Records, known: dict[str, Gram], clock: Clock, probed: bool
) -> tuple[dict[str, Scores], dict[str, list[FloatArray]]]:
    """The scores and the error curves, by name."""
    slopes = clock("fisher", lambda: fisher(net, data.train))
    eliminated = clock("obs", lambda: eliminations(net, known, slopes))
    gate = clock("taylor", lambda: taylor(net, data.holdout))
    order = [np.argsort(each.order).astype(np.float64) for each in eliminated]
    scores = {"l1": l1(net, data.holdout), "taylor": gate, "obs": order}
    curves = {"obs": [each.curve for each in eliminated], "taylor": summed(gate)}
    if probed:
        alone = clock("sensitivity", lambda: list(probe(records, gate, IMAGES)))
        curves["sensitivity"] = sensitivity_curves(net.space, alone)
    return scores, curves


def row(score: str, rule: str, interim: Interim, control: Interim) -> dict[str, object]:
    """One line of the table, printed and as plain values."""
    mark = "  <- uniform L1" if interim.subnetwork == control.subnetwork else ""
    print(f"{score:7} {rule:32} {interim.accuracy:6.1%} {interim.loss:.4f}{mark}", flush=True)
    figures = {"loss": round(interim.loss, 4), "accuracy": interim.accuracy, "n": interim.n, "macs": interim.macs}
    return {
        "score": score,
        "rule": rule,
        "control": bool(mark),
        **figures,
        "widths": interim.subnetwork.widths.tolist(),
    }


def at(
    budget: str,
    records: Records,
    scores: dict[str, Scores],
    curves: dict[str, list[FloatArray]],
    evaluations: int,
    clock: Clock,
) -> dict[str, object]:
    """Everything at one budget."""
    net, limit = records.net, records.net.budget(budget)
    print(f"{budget} of MACs", flush=True)
    control = records.evaluate(top_channels(scores["l1"], uniform(net.space, limit, scores["l1"])), "control", IMAGES)
    candidates = propose(net.space, [limit], Evidence(scores, curves))
    rows = [row(c.score, c.rule, records.evaluate(c.subnetwork, c.rule, IMAGES), control) for c in candidates]
    before = len(records.all)
    if evaluations:
        way = greedy(records, taylor, limit, images=IMAGES, evaluations=evaluations)
        chain = clock(f"greedy {budget}", lambda: list(way))
        rows.append(row("taylor", "greedy", chain[-1], control))
    spent = len(records.all) - before
    return {"evaluated": {"pool": len(candidates), "greedy": spent}, "rows": rows}


def table(name: str, asked: argparse.Namespace, data: Data) -> dict[str, object]:
    """One network at all budgets."""
    net, clock = trained(name, data, asked.weights), Clock()
    print(f"{name}, {len(net.groups)} groups", flush=True)
    known = clock("grams", lambda: grams(net, data.train))
    records = Records(net, data.holdout, grams=known if asked.compensate else None)
    whole = records.evaluate(net.dense, "dense", IMAGES)
    scores, curves = evidence(net, data, records, known, clock, not asked.no_sensitivity)
    budgets = {b: at(b, records, scores, curves, asked.greedy, clock) for b in asked.budgets}
    return {
        "groups": len(net.groups),
        "dense": {"loss": round(whole.loss, 4), "accuracy": whole.accuracy, "n": whole.n},
        "budgets": budgets,
        "seconds": clock.seconds,
    }


def main() -> None:
    """Run, print, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("weights", type=Path, help="the folder of the dense weights")
    parser.add_argument("--nets", nargs="+", default=["resnet20", "resnet56"])
    parser.add_argument("--budgets", nargs="+", default=["60%", "50%", "45%", "28%"])
    parser.add_argument("--greedy", type=int, default=300, help="evaluations of each greedy search; 0: none")
    parser.add_argument("--no-sensitivity", action="store_true", help="spare its four evaluations a group")
    parser.add_argument("--compensate", action="store_true", help="refit what reads removed channels before scoring")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "coarse.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = sc.open_data(f"imagefolder:{asked.cifar}")
    result = {
        **conditions(),
        "compensated": asked.compensate,
        "nets": {name: table(name, asked, data) for name in asked.nets},
    }
    asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
