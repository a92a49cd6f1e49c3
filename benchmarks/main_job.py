"""The main job on CIFAR-10 (JPEG copy): ResNet-20 and ResNet-56 at 50% of MACs, CPU form, seed 0, 3 epochs.

Seconds of each stage; holdout and test accuracy of the dense network, of the searched one before
fine-tuning, after cross-entropy, after CKT. Every arm starts from the same subnetwork and weights.

    python benchmarks/main_job.py CIFAR_FOLDER [--nets resnet20 resnet56] [--trials 100] [--freeze GROUP ...]
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from conditions import conditions
from torch import nn
from trained import trained

import secateur as sc
from secateur.data.dataset import Data
from secateur.models.compensation.gram import grams
from secateur.models.compensation.sequential import refit_sequentially
from secateur.models.evaluate import evaluate, recalibrate
from secateur.models.files.architecture import architecture_of

HERE = Path(__file__).parent
METHODS = ("ce", "ckt")


def figures(model: nn.Module, data: Data, seconds: float) -> dict[str, object]:
    """Holdout and test score of one arm, and what it took to make."""
    scores = {name: asdict(evaluate(model, split)) for name, split in (("holdout", data.holdout), ("test", data.test))}
    return {**scores, "seconds": round(seconds, 1)}


def job(name: str, data: Data, trials: int, epochs: int, seed: int, freeze: list[str]) -> dict[str, object]:
    """One network, all stages."""
    net = trained(name, data, freeze=freeze)
    ended: dict[str, float] = {}  # seconds from the start of the search, or of the arm, to the last word of each stage

    def progress(what: str, done: int, total: int) -> None:
        ended[what] = time.perf_counter() - start
        if done in (1, total):
            print(f"{name} {what} {done}/{total} {ended[what]:.0f} s", flush=True)

    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        found = sc.find(net, data, "50%", trials=trials, seed=seed, storage=folder, progress=progress)
        searched = time.perf_counter() - start
        pruned = refit_sequentially(net, found.best(), grams(net, data.train), data.train)
        recalibrate(pruned, data.train)
        arms = {"dense": figures(net.model, data, 0.0), "pruned": figures(pruned, data, searched)}
        gates: list[float] = []
        for method in METHODS:
            start = time.perf_counter()
            student = sc.finetune(
                net, found.best(), found.bank, data, epochs=epochs, method=method, seed=seed, progress=progress
            )
            arms[method] = figures(student, data, time.perf_counter() - start)
            gates = architecture_of(student)["training"]["gates_open"] or gates
            print(name, method, arms[method], flush=True)
    return {
        "prunable_groups": len(net.groups),
        "macs": {"dense": net.macs(net.dense), "kept": found.winner.macs, "budget": net.budget("50%").macs},
        "parameters": {"dense": net.parameters(net.dense), "kept": found.winner.parameters},
        "holdout_loss": {"start": found.coarse_best.loss, "winner": found.winner.loss, "n": found.winner.n},
        "seconds": {"search": round(ended["fine search"], 1), "bank": round(searched - ended["fine search"], 1)},
        "teachers": [{"macs": t.macs, "loss": t.loss} for t in (found.bank.teachers if found.bank else ())],
        "gates_open": gates,
        "arms": arms,
    }


def main() -> None:
    """Run, and write benchmarks/results/main_job_NET.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--nets", nargs="+", default=["resnet20", "resnet56"])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--freeze", nargs="*", default=[], help="channel groups that stay whole, with wildcards")
    parser.add_argument("--tag", default="", help="ends the name of the result's file")
    asked = parser.parse_args()
    data = sc.open_data(f"imagefolder:{asked.cifar}")
    result = {
        **conditions(),
        "asked": {**vars(asked), "cifar": "CIFAR-10, JPEG copy"},
    }
    nets = {name: job(name, data, asked.trials, asked.epochs, asked.seed, asked.freeze) for name in asked.nets}
    for name, figures_of_net in nets.items():
        text = json.dumps({**result, "net": name, **figures_of_net}, indent=1)
        (HERE / "results" / f"main_job_{name}{asked.tag}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
