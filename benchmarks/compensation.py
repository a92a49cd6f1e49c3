"""Closed-form compensation without a gradient step: ResNet-20 and ResNet-56 at 50% of MACs, uniform L1 widths.

Accuracy on 5,000 holdout images (batch statistics, as the search scores) and on the 10,000 test images (after
recalibration on 4,000 train images) of the raw subnetwork, of the refit from the dense Grams alone and of the
one in sequence; the same with widths and order from second-order curves, without a search, and with those of a search
of 120 evaluations (1,000 holdout images each, but its five finalists). Seconds of each; the ridge, on 1,000 holdout
images. ``inner``: only the channels inside blocks are prunable; ``all``: those of the residual stages, too.

    python benchmarks/compensation.py CIFAR_FOLDER [--nets resnet20 resnet56] [--groups inner all] [--evaluations 120]
        [--no-test]
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from conditions import conditions
from torch import nn
from trained import FROZEN, trained

import secateur as sc
from secateur.data.dataset import Data
from secateur.models.compensation.gram import IMAGES, ROWS, Gram, grams
from secateur.models.compensation.ridge import RIDGE, refit
from secateur.models.compensation.sequential import refit_sequentially
from secateur.models.evaluate import batch_statistics, evaluate, evaluate_as_is, recalibrate
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.surgery.slim import slim
from secateur.progress import follow, silent
from secateur.search.allocation import error_per_mac, uniform
from secateur.search.coarse_to_fine import FINALISTS, Searched, search_widths
from secateur.search.config import SearchConfig
from secateur.search.importance.magnitude import l1
from secateur.search.importance.second_order import eliminations, fisher
from secateur.search.records import Records

HERE = Path(__file__).parent
SAMPLE = 1000
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
T = TypeVar("T")


def timed(make: Callable[[], T]) -> tuple[T, float]:
    """A result, and the seconds it took."""
    start = time.perf_counter()
    made = make()
    return made, time.perf_counter() - start


def holdout(model: nn.Module, data: Data, images: int | None = None) -> dict[str, float]:
    """As the search scores: batch statistics, the first holdout images, or all."""
    with batch_statistics(model):
        result = evaluate_as_is(model, data.holdout, images)
    return {"loss": result.loss, "accuracy": result.value, "n": result.n}


def arm(make: Callable[[], nn.Module], data: Data, test: bool) -> dict[str, object]:
    """Seconds to make a network, its score on holdout and, recalibrated, on test."""
    model, seconds = timed(make)
    figures: dict[str, object] = {"seconds": seconds, "holdout": holdout(model, data)}
    if test:
        recalibrate(model, data.train)
        result = evaluate(model, data.test)
        figures["test"] = {"loss": result.loss, "accuracy": result.value, "n": result.n}
    return figures


def ridges(net: sc.Supernet, subnetwork: Subnetwork, known: dict[str, Gram], data: Data) -> dict[str, dict[str, float]]:
    """Holdout score of the refit from Grams alone, by ridge."""
    return {f"{ridge:g}": holdout(refit(net, subnetwork, known, ridge), data, SAMPLE) for ridge in RIDGES}


def searched(net: sc.Supernet, known: dict[str, Gram], data: Data, evaluations: int) -> Searched:
    """What a search of so many evaluations finds at 50% of MACs: its proposals, and trials for the rest."""
    span, records = net.span("50%"), Records(net, data.holdout, grams=known)
    with TemporaryDirectory() as folder:
        first = follow(search_widths(records, SearchConfig(span, 0), Path(folder)), silent)
        left = evaluations - len(records.all) - FINALISTS
        found = follow(search_widths(records, SearchConfig(span, left), Path(folder)), silent)
    print(f"{len(records.all)} evaluations, {first.winner.loss:.4f} -> {found.winner.loss:.4f}", flush=True)
    return found


def job(name: str, groups: str, data: Data, test: bool, evaluations: int) -> dict[str, object]:
    """One network with one choice of prunable groups."""
    net = trained(name, data, freeze=FROZEN[groups])
    scores = l1(net, data.holdout)
    subnetwork = top_channels(scores, uniform(net.space, net.budget("50%"), scores))
    known, seconds = timed(lambda: grams(net, data.train))
    slopes = timed(lambda: fisher(net, data.holdout))
    found = timed(lambda: eliminations(net, known, slopes[0]))
    widths = error_per_mac(net.space, net.budget("50%"), [each.curve for each in found[0]])
    order = [each.scores for each in found[0]]
    second = top_channels(order, widths)
    search = timed(lambda: searched(net, known, data, evaluations))
    best = search[0].winner.subnetwork
    arms = {
        "dense": arm(lambda: slim(net, net.dense), data, test),
        "raw": arm(lambda: slim(net, subnetwork), data, test),
        "from Grams": arm(lambda: refit(net, subnetwork, known), data, test),
        "in sequence": arm(lambda: refit_sequentially(net, subnetwork, known, data.train), data, test),
        "OBS order, from Grams": arm(lambda: refit(net, top_channels(order, subnetwork.widths), known), data, False),
        "OBS widths, raw": arm(lambda: slim(net, second), data, False),
        "OBS widths, from Grams": arm(lambda: refit(net, second, known), data, False),
        "OBS widths, in sequence": arm(lambda: refit_sequentially(net, second, known, data.train), data, test),
        "searched, from Grams": arm(lambda: refit(net, best, known), data, False),
        "searched, in sequence": arm(lambda: refit_sequentially(net, best, known, data.train), data, test),
    }
    for title, figures in arms.items():
        print(name, groups, title, figures, flush=True)
    swept = ridges(net, subnetwork, known, data)
    print(name, groups, "ridge", swept, flush=True)
    return {
        "net": name,
        "groups": groups,
        "prunable_groups": len(net.groups),
        "macs": {"dense": net.macs(net.dense), "kept": net.macs(subnetwork)},
        "obs_widths": widths.tolist(),
        "gram_seconds": seconds,
        "fisher_seconds": slopes[1],
        "obs_seconds": found[1],
        "search_seconds": search[1],
        "search": {"start": search[0].coarse_best.to_dict(), "winner": search[0].winner.to_dict()},
        "gram_bytes": sum(block.numel() * block.element_size() for gram in known.values() for block in gram.blocks),
        "arms": arms,
        "ridge": swept,
    }


def main() -> None:
    """Run, and write benchmarks/results/compensation.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--nets", nargs="+", default=["resnet20", "resnet56"])
    parser.add_argument("--groups", nargs="+", default=["inner", "all"], choices=["inner", "all"])
    parser.add_argument("--evaluations", type=int, default=120, help="of the search")
    parser.add_argument("--no-test", action="store_true", help="leave test data alone")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "compensation.json")
    asked = parser.parse_args()
    data, test = sc.open_data(f"imagefolder:{asked.cifar}"), not asked.no_test
    result = {
        **conditions(),
        "ridge": RIDGE,
        "images": IMAGES,
        "rows_a_column": ROWS,
        "jobs": [job(net, groups, data, test, asked.evaluations) for net in asked.nets for groups in asked.groups],
    }
    asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
