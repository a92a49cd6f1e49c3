"""What learning widths adds to a step of plain distillation, in time. One thread, images of noise, batch 128.

``step``: median seconds of a training step under the dense network, of each method in turn with plain KD, which makes
the same two forward passes and the same backward pass. ``overhead``: how much longer than KD's. The first step of each
is not counted.

    python benchmarks/learners.py [--nets resnet20 ...] [--steps 15]

Target, written beside the figures, never enforced: at most 10% more.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from conditions import conditions
from torch import nn
from workers import noise

import secateur as sc
from secateur.allocator import keep_freed
from secateur.models.surgery.slim import slim
from secateur.transfer.joint.methods import Assignment, Blockwise, Kddp, Pdd
from secateur.transfer.losses import kd_loss
from secateur.transfer.objectives.base import Distillation, Objective, online_teacher
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import Step, train
from secateur.transfer.training.trainer import Hooks

RESULTS = Path(__file__).parent / "results"
NETS = ("resnet20", "vgg11_bn", "mobilenetv2")
SHARE = 0.10  # the target


def made(name: str) -> dict[str, tuple[nn.Module, Objective, Hooks]]:
    """What each method trains, and by what."""
    torch.manual_seed(0)
    net = sc.Supernet.of(sc.constructor(name, 10)().eval(), torch.zeros(1, 3, 32, 32))
    split, recipe = noise(1000), Recipe()
    assigned = Assignment(net, net.model, split, recipe, holdout=split)
    learners = {method.name: method.learner(assigned) for method in (Pdd(), Kddp(), Blockwise())}
    plain = slim(net, net.dense), Distillation(online_teacher(net.model), kd_loss), Hooks()
    return {"kd": plain, **{name: (each.model, each.objective, each.hooks) for name, each in learners.items()}}


def steps_of(model: nn.Module, objective: Objective, hooks: Hooks) -> Iterator[Step]:
    """Training without an end in sight."""
    return train(model, noise(1000), objective, Recipe(epochs=1000), hooks=Hooks(hooks.weight_penalty))


def timed(name: str, count: int) -> dict[str, dict[str, float]]:
    """Median seconds of a step of each, in turn, and how much longer than KD's."""
    runs = {method: steps_of(*parts) for method, parts in made(name).items()}
    seconds: dict[str, list[float]] = {method: [] for method in runs}
    for _ in range(count + 1):
        for method, run in runs.items():
            start = time.perf_counter()
            next(run)
            seconds[method].append(time.perf_counter() - start)
    steps = {method: median(each[1:]) for method, each in seconds.items()}
    return {m: {"step": round(s, 4), "overhead": round(s / steps["kd"] - 1, 4)} for m, s in steps.items()}


def main() -> None:
    """Time, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=NETS, choices=NETS)
    parser.add_argument("--steps", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed()
    result = {**conditions(), "steps": asked.steps, "target": SHARE, "nets": {}}
    for name in asked.nets:
        result["nets"][name] = timed(name, asked.steps)
        print(name, result["nets"][name], flush=True)
    (RESULTS / "learners.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
