"""Is any interim subnetwork of a search worth being a teacher beside the dense network? On CIFAR-10 (JPEG copy).

The candidates are those that a bank of five would hold, refitted and recalibrated as it would run them. Each is judged
by what it adds to the mix of log-probabilities on labelled images, every mix at its best temperature
(``secateur.transfer.bank.worth``): on the holdout, as a run could, and on test images, since the original training of
the dense networks saw the holdout.

    python benchmarks/worth.py CIFAR_FOLDER --work FOLDER [--net resnet20] [--weights FOLDER]

``--work`` is that of transfer.py, whose search is used.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from arm_bench import Bench
from conditions import conditions
from torch import Tensor, nn
from trained import WEIGHTS

from secateur.allocator import keep_freed
from secateur.models.compensation.ridge import refit
from secateur.models.evaluate import outputs, recalibrate
from secateur.models.split import Split
from secateur.models.tracing.modules import evaluating
from secateur.transfer.bank.manifest import Teacher
from secateur.transfer.bank.teachers import choose_teachers
from secateur.transfer.bank.worth import judge

RESULTS = Path(__file__).parent / "results"


def ready(bench: Bench, teacher: Teacher) -> nn.Module:
    """A teacher as a bank runs it."""
    session = bench.session
    if teacher.subnetwork == session.net.dense:
        return session.net.model
    model = refit(session.net, teacher.subnetwork, session.grams)
    recalibrate(model, session.data.train)
    return model


def answers(model: nn.Module, split: Split) -> tuple[Tensor, Tensor]:
    """Logits and labels of a split. Shape: → (N, C), (N,)"""
    with evaluating(model):
        logits, labels, _ = zip(*outputs(model, split), strict=True)
    return torch.cat(logits), torch.cat(labels)


def worths(bench: Bench) -> list[dict[str, Any]]:
    """What each candidate is worth on holdout and test."""
    dense, winner = bench.session.net.dense, bench.subnetwork("searched")
    teachers = choose_teachers(bench.searched.interims, dense, winner)
    models = [ready(bench, teacher) for teacher in teachers]
    lines: list[dict[str, Any]] = [{"macs": teacher.macs} for teacher in teachers]
    for name in ("holdout", "test"):
        found = [answers(model, getattr(bench.data, name)) for model in models]
        verdict = judge([logits for logits, _ in found], found[0][1])
        for line, worth in zip(lines, verdict.worths, strict=True):
            line[name] = asdict(worth)
        print(f"{bench.name}, {name}: T* = {verdict.temperature}, taken {verdict.taken}")
    return lines


def main() -> None:
    """Print the table, and write worth-NET.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--net", default="resnet20")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--images", type=int, default=0, help="of each split; 0: all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    keep_freed()
    torch.set_num_threads(1)
    folder = asked.work / f"{asked.net}-50-{asked.images or 'all'}"
    lines = worths(Bench(asked.net, asked.cifar, folder, "50%", asked.trials, asked.images, asked.weights))
    for line in lines:
        print(json.dumps(line))
    result = {**conditions(), "images": asked.images or "all", "candidates": lines}
    (asked.out / f"worth-{asked.net}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
