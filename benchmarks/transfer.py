"""What is worth its cost in fine-tuning? Every arm with equal epochs, ResNet-20 and -56 (CIFAR-10, JPEG copy).

All arms train the same searched subnetwork, from weights halfway between inherited and compensated ones where their
name does not say otherwise; a ``chain`` spends no more MACs on networks of 80, 65 and 50%; ``dense-*`` train the dense
network on for as many epochs. SGD, Nesterov 0.9, batch 128, learning rate 0.05, cosine to 0, weight decay 5e-4,
gradient clipped at 5, pad-4 crop and flip, bfloat16 autocast, last epoch's weights, statistics recalibrated. Test
images are read once an arm.

    python benchmarks/transfer.py CIFAR_FOLDER --work FOLDER [--net resnet20] [--arms kd ckt ...] [--seeds 0 1 2]
        [--epochs 3 10] [--images N] [--prepare] [--draw]

Each arm runs once: its result is a line of ``--out``/arms.jsonl, and what is there is not run again, so that a list of
arms can be cut short, resumed, and shared by several processes. ``--prepare`` makes what arms share (search, banks)
in --work and trains nothing; run it before several processes start. The table of all that is there is printed last,
and written to arms.json. Costs are processor seconds of one thread with search, bank and start, and the same in epochs
of the dense network.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch
from arm_bench import Bench, Job, key
from arm_runs import run
from arm_table import missing, shown, table
from arms import ARMS, CHAINS
from conditions import conditions
from trained import WEIGHTS
from tuned import finished, keep

from secateur.allocator import keep_freed

RESULTS = Path(__file__).parent / "results"
NETS = ("resnet20", "resnet56")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--work", type=Path, required=True, help="a folder for searches and banks")
    parser.add_argument("--net", default="resnet20", choices=NETS)
    parser.add_argument("--flops", default="50%")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=[*ARMS, *CHAINS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--images", type=int, default=0, help="of each split; 0: all")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="the folder of the trained weights")
    parser.add_argument("--prepare", action="store_true", help="make what the arms share, train nothing")
    parser.add_argument("--draw", action="store_true", help="print the table of what is there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def prepare(bench: Bench, arms: Sequence[str]) -> None:
    """What these arms share."""
    torch.set_num_threads(1)
    bench.subnetwork("searched")
    print("an epoch of the dense network takes", bench.dense_epoch)
    for teachers in sorted({ARMS[arm].teachers for arm in arms if arm in ARMS}):
        bench.bank(teachers)
    print(bench.seconds)


def main() -> None:
    """Run what is missing, print and write the table."""
    asked = arguments()
    keep_freed()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "arms.jsonl"
    folder = asked.work / f"{asked.net}-{asked.flops.rstrip('%')}-{asked.images or 'all'}"
    bench = Bench(asked.net, asked.cifar, folder, asked.flops, asked.trials, asked.images, asked.weights)
    order = product(asked.epochs, asked.seeds, asked.arms)
    jobs = [Job(asked.net, asked.flops, arm, epochs, seed) for epochs, seed, arm in order]
    if asked.prepare:
        prepare(bench, asked.arms)
    while not (asked.prepare or asked.draw) and (job := missing(jobs, path)):
        result = run(job, bench)
        keep(path, key(job), result)
        print(key(job), json.dumps(result), flush=True)
    lines = table(finished(path))
    for line in lines:
        print(shown(line))
    about = {**conditions(), "trials": asked.trials, "images": asked.images or "all"}
    (asked.out / "arms.json").write_text(json.dumps({**about, "arms": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main()
