"""Which learning rate fits a compensated start? ResNet-20 (CIFAR-10, JPEG copy) at 50% of MACs, holdout only.

Widths and order of second-order curves; cross-entropy, 2 epochs, one seed, from weights compensated in sequence and
from inherited ones. Holdout: 5,000 images, running statistics recalibrated.

    python benchmarks/learning_rate.py CIFAR_FOLDER [--rates 0.005 0.01 0.02 0.05]
"""

import argparse
import json
from pathlib import Path

from conditions import conditions
from tuned import Tuning, known, opened, supernet, tunings

from secateur.models.subnetwork import top_channels
from secateur.search.allocation import error_per_mac
from secateur.search.importance.second_order import eliminations, fisher

RESULTS = Path(__file__).parent / "results"
NET = ("resnet20", "all")


def main() -> None:
    """Run, and write benchmarks/results/learning_rate.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.02, 0.05])
    parser.add_argument("--starts", nargs="+", default=["sequence", "raw"], choices=["sequence", "raw"])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=45_000, help="of the train split")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    net = supernet(*NET, asked.cifar)
    gone = eliminations(net, known(*NET, asked.cifar), fisher(net, opened(asked.cifar).holdout))
    widths = error_per_mac(net.space, net.budget("50%"), [each.curve for each in gone])
    kept = top_channels([each.scores for each in gone], widths).to_json()
    jobs = [
        Tuning(*NET, kept, start, rate, asked.epochs, seed=0, images=asked.images, test=False)
        for start in asked.starts
        for rate in asked.rates
    ]
    results = tunings(jobs, asked.cifar, asked.out / "learning_rate.jsonl", asked.processes)
    rows = [
        {"start": job.start, "learning_rate": job.learning_rate, "epochs": job.epochs, **result}
        for job, result in zip(jobs, results, strict=True)
    ]
    for row in rows:
        print(row)
    result = {**conditions(), "widths": widths.tolist(), "rows": rows}
    (asked.out / "learning_rate.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
