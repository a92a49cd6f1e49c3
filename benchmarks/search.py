"""The fine search at equal evaluations: CIFAR-10 (JPEG copy), 50% of MACs, all groups, no training.

Arms, each a number of evaluations as the default arm (coarse proposals and trials) takes on the same seed:
``tpe``, the default, from the coarse pool; ``cold`` TPE and ``random`` widths, both from uniform widths alone, moving
all groups and with no window around the best; ``greedy``, cut at 200 evaluations; ``uniform`` widths, one evaluation;
``raw``, the default on subnetworks that are not compensated, its winner compensated afterwards; ``whole``, the default
without early stops, which also tells what they would have saved and cost; ``wished``, the default with a sampler that
learns the widths it wished for, and not those that were fitted to the budget and evaluated; ``gp``, the default with a
Gaussian process.
Filters go in the order of second-order elimination (greedy: Taylor's). A subnetwork is scored by its loss on 1,000
holdout images, with batch statistics, in bfloat16 where the processor computes in it; what beats the best so far there
is scored on all 5,000 before it is the best; the five best of an arm on the sample are, too, and the best on all is
the arm's.
``share``: seconds of the default arm, Grams and importance included, beside 40 epochs of fine-tuning its
winner with cross-entropy (one measured epoch x 40), in this process.

    python benchmarks/search.py CIFAR_FOLDER [--nets resnet20 resnet56] [--arms tpe cold ...] [--seeds 0 1 2]
        [--trials 200]

An arm that results/search.jsonl holds is not run again; results/search.json and search.png are made of all there are.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib as mpl
import numpy as np
from conditions import conditions
from search_arms import ARMS, Bench

import secateur as sc
from secateur.allocator import keep_freed

RESULTS = Path(__file__).parent / "results"
EPOCHS = 40


def table(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Winners' holdout loss by network and arm: mean, spread, each seed."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        arm = found.setdefault(row["net"], {}).setdefault(row["arm"], {"loss": {}, "seconds": {}, "accuracy": {}})
        for name, value in (("loss", row["winner"]["loss"]), ("accuracy", row["winner"]["accuracy"])):
            arm[name][row["seed"]] = round(value, 4)
        arm["seconds"][row["seed"]] = row["seconds"]
    for arms in found.values():
        for arm in arms.values():
            losses = list(arm["loss"].values())
            arm["mean"], arm["sd"] = round(mean(losses), 4), round(stdev(losses), 4) if losses[1:] else None
    return found


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Best loss so far against evaluations and against seconds, a line each arm and seed."""
    mpl.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    nets = sorted({row["net"] for row in rows})
    colours = {arm: f"C{n}" for n, arm in enumerate(ARMS)}
    figure, axes = plt.subplots(len(nets), 2, figsize=(11, 4 * len(nets)), squeeze=False, sharey="row")
    for row in rows:
        if row["arm"] == "raw" or "whole" not in row:  # other losses; kept from before, when the search was another
            continue
        seconds = [when for when, _ in row["curve"]]
        best = np.fmin.accumulate([np.nan if loss is None else loss for _, loss in row["curve"]])
        for axis, x in zip(axes[nets.index(row["net"])], (np.arange(1, len(best) + 1), seconds), strict=True):
            label = row["arm"] if row["seed"] == 0 else None
            marker = "o" if np.isfinite(best).sum() == 1 else ""
            axis.plot(x, best, color=colours[row["arm"]], label=label, marker=marker, lw=1.2, alpha=0.85)
    for net, (left, right) in zip(nets, axes, strict=True):
        left.set(title=f"{net}, 50% of MACs", xlabel="evaluations", ylabel="best loss so far (1,000 holdout images)")
        right.set(title=f"{net}, by time", xlabel="seconds", xscale="log")
        right.xaxis.set_minor_formatter(NullFormatter())
        left.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def main() -> None:
    """Run what is missing, print, and write the figures and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--nets", nargs="+", default=["resnet20", "resnet56"])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    keep_freed()
    data, path = sc.open_data(f"imagefolder:{asked.cifar}"), asked.out / "search.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["net"], row["arm"], row["seed"]): row for row in rows}
    for net in asked.nets:
        bench = Bench(net, data)
        for seed, arm in ((seed, arm) for seed in asked.seeds for arm in asked.arms if (net, arm, seed) not in done):
            evaluations = done[net, "tpe", seed]["evaluations"] if arm != "tpe" else 0
            row = {"net": net, "arm": arm, "seed": seed, **bench.arm(arm, seed, asked.trials, evaluations)}
            if (arm, seed) == ("tpe", 0):
                row["share"] = round(row["seconds"] / (EPOCHS * bench.epoch(row["kept"])), 3)
            done[net, arm, seed] = {**row, **conditions()}
            with path.open("a") as file:
                file.write(json.dumps(done[net, arm, seed]) + "\n")
            print({name: value for name, value in row.items() if name not in ("curve", "kept", "widths")}, flush=True)
    found = table(done.values())
    print(json.dumps(found, indent=1))
    (asked.out / "search.json").write_text(json.dumps({**conditions(), "holdout_loss": found}, indent=1) + "\n")
    picture(list(done.values()), asked.out / "search.png")


if __name__ == "__main__":
    main()
