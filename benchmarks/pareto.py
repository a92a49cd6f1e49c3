"""One search for every budget: ResNet-56, from 25% to 80% of MACs, all groups, no training.

How good is a point of its front beside a search for that budget alone (``search.py``, 50%), and how does the
hypervolume grow with the trials? Losses are of compensated subnetworks on 1,000 holdout images, with batch
statistics; the point at 50% is scored again on all 5,000.

    python benchmarks/pareto.py CIFAR_FOLDER [--net resnet56] [--trials 200] [--work FOLDER]

The run directory in ``--work`` is taken up where it was stopped. The front's table and picture go to
results/pareto_NET.csv and .png, the rest to results/pareto.json.
"""

import argparse
import json
import shutil
import time
from math import log
from pathlib import Path

from conditions import conditions
from trained import WEIGHTS, trained

import secateur as sc
from secateur.models.compensation.gram import grams
from secateur.pipeline.found import best_under
from secateur.rundir.config import ask
from secateur.search.config import SAMPLE
from secateur.search.pareto import hypervolume, pareto_front
from secateur.search.records import Interim, Records
from secateur.stages.run import run

RESULTS = Path(__file__).parent / "results"
RANGE, POINT = "25%..80%", "50%"
STEP = 20  # evaluations between two figures of the hypervolume


def growth(net: sc.Supernet, known: list[Interim]) -> dict[int, float]:
    """The hypervolume after so many evaluations, beside dense MACs and the loss of a guess."""
    macs, guess = net.macs(net.dense), log(10)
    return {n: round(hypervolume(known[:n], macs, guess), 4) for n in range(STEP, len(known) + 1, STEP)}


def main() -> None:
    """Search, score the point, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--net", default="resnet56")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--work", type=Path, default=Path("runs/pareto"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    folder, weights = asked.work / asked.net, WEIGHTS / f"{asked.net}-cifar10-jpeg.safetensors"
    data = f"imagefolder:{asked.cifar}"
    start = time.perf_counter()
    run(ask(asked.net, data=data, weights=str(weights), flops=RANGE, trials=asked.trials), folder, until="search")
    seconds = time.perf_counter() - start
    images = sc.open_data(data)
    net = trained(asked.net, images)
    records = Records(net, images.holdout, folder / "bank" / "records.jsonl", grams=grams(net, images.train))
    whole = [each for each in records.all if each.n == SAMPLE]
    points = pareto_front(whole)
    best = best_under(net, points, POINT)
    again = records.evaluate(best.subnetwork, best.source, len(images.holdout))
    result = {
        **conditions(),
        "net": asked.net,
        "range": RANGE,
        "trials": asked.trials,
        "evaluations": len(records.all),
        "seconds": round(seconds, 1),
        "front": [each.to_dict() for each in points],
        f"point_at_{POINT}": again.to_dict(),
        "hypervolume": growth(net, whole),
    }
    (asked.out / "pareto.json").write_text(json.dumps(result, indent=1) + "\n")
    for name, ending in (("front.csv", "csv"), ("pareto.png", "png")):
        shutil.copy(folder / name, asked.out / f"pareto_{asked.net}.{ending}")
    print({name: value for name, value in result.items() if name != "front"})


if __name__ == "__main__":
    main()
