"""How good a start each importance score gives: CIFAR-10 (JPEG copy), 50% of MACs, no training, one thread.

For each network, score and rule (uniform widths; one threshold over mean-normalised scores): accuracy and loss on
1,000 holdout images with batch statistics, and the seconds that the score took. Scores that read images read
the holdout too. Random scores with seeds 0, 1 and 2 are the control.

    python benchmarks/scores.py CIFAR_FOLDER WEIGHTS_FOLDER [--nets resnet20 resnet56]
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import torch
from conditions import conditions
from trained import trained

import secateur as sc
from secateur.data.dataset import Data
from secateur.models.subnetwork import top_channels
from secateur.search.allocation import ALLOCATION_RULES
from secateur.search.importance.magnitude import random_scores
from secateur.search.importance.registry import SCORES
from secateur.search.importance.scores import Importance
from secateur.search.records import Records

HERE = Path(__file__).parent
IMAGES = 1000
ARMS: dict[str, Importance] = {
    **SCORES,
    "random, seed 1": partial(random_scores, seed=1),
    "random, seed 2": partial(random_scores, seed=2),
}


def score_of(net: sc.Supernet, name: str, data: Data) -> list[dict[str, object]]:
    """One score with both rules."""
    start = time.perf_counter()
    scores = ARMS[name](net, data.holdout)
    seconds = time.perf_counter() - start
    records, budget, rows = Records(net, data.holdout), net.budget("50%"), list[dict[str, object]]()
    for rule_name, rule in ALLOCATION_RULES.items():
        interim = records.evaluate(top_channels(scores, rule(net.space, budget, scores)), name, IMAGES)
        figures = {"accuracy": interim.accuracy, "loss": round(interim.loss, 4), "n": interim.n, "macs": interim.macs}
        rows.append({"score": name, "rule": rule_name, **figures, "seconds": round(seconds, 2)})
        print(f"{name:16} {rule_name:10} {interim.accuracy:.1%} {interim.loss:.4f} {seconds:.1f} s", flush=True)
    return rows


def table(name: str, weights: Path, data: Data) -> dict[str, object]:
    """All scores on one network."""
    net = trained(name, data, weights)
    print(name, flush=True)
    whole = Records(net, data.holdout).evaluate(net.dense, "dense", IMAGES)
    rows = [row for score in ARMS for row in score_of(net, score, data)]
    return {
        "groups": len(net.groups),
        "dense": {"accuracy": whole.accuracy, "loss": round(whole.loss, 4)},
        "rows": rows,
    }


def main() -> None:
    """Run, print, and write benchmarks/results/scores.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("weights", type=Path, help="the folder of the dense weights")
    parser.add_argument("--nets", nargs="+", default=["resnet20", "resnet56"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = sc.open_data(f"imagefolder:{asked.cifar}")
    result = {
        **conditions(),
        "nets": {name: table(name, asked.weights, data) for name in asked.nets},
    }
    (HERE / "results" / "scores.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
