"""How near the table of layer times comes to the time of the whole network, on this device, for one image of 32 px.

For each network: the table is measured, then 20 subnetworks of random widths (other ones than the table was fitted to)
are timed whole, in turns, after a warm-up; a time is the median over the rounds. Then the table is measured again: what
both tables differ by (drift) is the machine's own change of speed. The difference is |table - whole| / whole, of the
mean of both tables, and of the first alone. The control says what the median of the whole times alone, for all of
them, would be off by.

    python benchmarks/latency.py [--nets resnet20 resnet56 mobilenetv2] [--rounds 50] [--threads 1] [--out FOLDER]

Target, printed and written, never enforced: a median difference of at most 15% on each network.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from conditions import conditions
from torch import Tensor, nn
from zoo_records import Record

import secateur as sc
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.surgery.slim import slim
from secateur.models.timing.latency import measure

HERE = Path(__file__).parent
NETS = ["resnet20", "resnet56", "mobilenetv2"]
SUBNETWORKS, WARM_UP, TARGET = 20, 5, 0.15


def random_subnetworks(net: sc.Supernet, seed: int = 1) -> list[Subnetwork]:
    """Each of its own share of the widths, and each group around that share."""
    rng, space = np.random.default_rng(seed), net.space
    found = []
    for share in rng.random(SUBNETWORKS):
        shares = np.clip(share + rng.uniform(-0.3, 0.3, len(space.dense)), 0, 1)
        widths = space.round_down(space.min_widths + shares * (space.dense - space.min_widths))
        found.append(top_channels([rng.random(group.width) for group in net.groups], widths))
    return found


def seconds(models: Sequence[nn.Module], example: Tensor, rounds: int) -> list[float]:
    """The median time of each, timed in turns."""
    taken: list[list[float]] = [[] for _ in models]
    with torch.no_grad():
        for number in range(WARM_UP + rounds):
            for model, each in zip(models, taken, strict=True):
                start = now(example)
                model(example)
                each.extend([now(example) - start] if number >= WARM_UP else [])
    return [median(each) for each in taken]


def now(example: Tensor) -> float:
    """The time once the device has done what it was given."""
    if example.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def compared(name: str, rounds: int, device: str) -> Record:
    """One network: the differences, and what they are made of."""
    net = sc.Supernet.of(sc.constructor(name, 10)().to(device).eval(), torch.zeros(1, 3, 32, 32))
    start = time.perf_counter()
    table = measure(net)
    measuring = time.perf_counter() - start
    chosen = random_subnetworks(net)
    whole = seconds([slim(net, each) for each in chosen], net.examples[0], rounds)
    first, again = (np.array([float(each(k.widths)) for k in chosen]) for each in (table, measure(net)))
    predicted = (first + again) / 2
    off = np.abs(predicted / whole - 1)
    return {
        "median_difference": round(float(np.median(off)), 4),
        "largest_difference": round(float(off.max()), 4),
        "first_table": round(float(np.median(np.abs(first / whole - 1))), 4),
        "drift": round(float(np.median(again / first - 1)), 4),
        "control": round(median(abs(median(whole) - w) / w for w in whole), 4),
        "correlation": round(float(np.corrcoef(predicted, whole)[0, 1]), 4),
        "seconds_to_measure": round(measuring, 1),
        "n": len(chosen),
        "whole_ms": [round(1e3 * each, 4) for each in whole],
        "table_ms": [round(1e3 * each, 4) for each in predicted],
        "conditions": dict(table.conditions),
    }


def main() -> None:
    """Run, print, and write results/latency.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    result: Record = {**conditions(), "rounds": asked.rounds, "load": os.getloadavg(), "target": TARGET, "nets": {}}
    for name in asked.nets:
        one = result["nets"][name] = compared(name, asked.rounds, asked.device)
        met = "met" if one["median_difference"] <= TARGET else "NOT met"
        print(f"{name}: median difference {one['median_difference']:.1%} (target {met}), largest", end=" ")
        print(
            f"{one['largest_difference']:.1%}, first table alone {one['first_table']:.1%}, drift {one['drift']:+.1%},",
            end=" ",
        )
        print(f"control {one['control']:.1%}, n = {one['n']}", flush=True)
    (asked.out / "latency.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
