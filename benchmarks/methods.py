"""What PDD, KDDP and block-wise learning leave, and how it does beside distillation and the search, at equal epochs.

Arms are in ``methods_arms.py``; ``--epochs`` are all that an arm trains, both parts of a method together. The seconds
of the arms named `search` include the search. Test images are read once, at the end of each arm. One thread.

On digits each network is trained first (12 epochs); it is the teacher, and the start of every arm but those from fresh
weights. ResNet-20, small VGG and MobileNetV2 see 16 pixels, VGG-11 32:

    python benchmarks/methods.py [--nets resnet20 vgg11_bn mobilenetv2 small_vgg] [--seeds 0 1 2] [--epochs 16]

On CIFAR-10 (JPEG copy; 45,000 images) a ResNet-20 learns under a trained ResNet-56, by PDD for 10 + 30 epochs:

    python benchmarks/methods.py --cifar FOLDER --seeds 0 1 --arms pdd fresh pdd_size search_pdd kd kddp

Each result is a line of results/methods_published_*.jsonl as it ends, and no arm runs twice, so that the benchmark can
be stopped at any time. ``--draw`` makes the table and the picture of what is there.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from conditions import conditions
from methods_arms import ARMS, NEEDS, TRIALS, Job, Setting, key
from methods_table import PUBLISHED, draw, table
from torch import nn
from trained import WEIGHTS, trained
from tuned import finished, keep

import secateur as sc
from secateur.allocator import keep_freed
from secateur.data.dataset import Data
from secateur.models.evaluate import evaluate
from secateur.transfer.objectives.base import CrossEntropy
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

RESULTS = Path(__file__).parent / "results"
PIXELS = {"resnet20": 16, "vgg11_bn": 32, "mobilenetv2": 16, "small_vgg": 16}
STAGES = ((16,), (32,), (64,), (64,))  # widths of the small VGG


def small_vgg(classes: int) -> nn.Module:
    """Four convolutions, each halved by pooling, and a hidden linear layer of 128."""
    layers: list[nn.Module] = []
    reads = 3
    for (writes,) in STAGES:
        convolution = nn.Conv2d(reads, writes, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(writes), nn.ReLU(), nn.MaxPool2d(2)]
        reads = writes
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(reads, 128), nn.ReLU(), nn.Linear(128, classes))


@lru_cache(maxsize=1)
def digits(net: str, seed: int) -> tuple[sc.Supernet, Data]:
    """The network, trained on digits for this seed."""
    data = sc.open_data("digits", (3, PIXELS[net], PIXELS[net]))
    torch.manual_seed(seed)
    model = small_vgg(10) if net == "small_vgg" else sc.constructor(net, 10)()
    for _ in train(model, data.train, CrossEntropy(), Recipe(epochs=12, batch=64, warmup=1, seed=seed)):
        pass
    return sc.Supernet.of(model.eval(), data.example), data.in_memory_format_of(model)


@lru_cache(maxsize=1)
def cifar(folder: str, net: str) -> tuple[sc.Supernet, Data, nn.Module]:
    """The trained student, the images, and a trained ResNet-56."""
    data = sc.open_data(f"imagefolder:{folder}")
    student, teacher = (trained(name, data, WEIGHTS) for name in (net, "resnet56"))
    return student, data.in_memory_format_of(teacher.model), teacher.model


def setting_of(job: Job, folder: str | None, results: Path) -> Setting:
    """What an arm works with; on digits the dense network is the teacher."""
    if folder is None:
        net, data = digits(job.net, job.seed)
        return Setting(net, data, net.model, job, results)
    return Setting(*cifar(folder, job.net), job, results)


def result_of(setting: Setting) -> dict[str, Any]:
    """Train one arm, and score it."""
    start, net, data = time.perf_counter(), setting.net, setting.data
    model, subnetwork = ARMS[setting.job.arm](setting)
    seconds = time.perf_counter() - start
    costs = {"macs": net.macs(subnetwork), "parameters": net.parameters(subnetwork)}
    dense = {"macs": net.macs(net.dense), "parameters": net.parameters(net.dense)}
    return {
        **costs,
        "shares": {name: costs[name] / dense[name] for name in costs},
        "holdout": asdict(evaluate(model, data.holdout)),
        "test": asdict(evaluate(model, data.test)),
        "dense": asdict(evaluate(net.model, data.test)),
        "widths": subnetwork.widths.tolist(),
        "seconds": round(seconds, 1),
    }


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """All arms; those that need the widths of another come after it."""
    arms = sorted(options.arms, key=lambda arm: arm in NEEDS)
    for seed in options.seeds:
        for net in ["resnet20"] if options.cifar else options.nets:
            for arm in arms:
                yield Job("cifar10-jpeg" if options.cifar else "digits", net, arm, options.epochs, seed)


def summary(path: Path, epochs: int) -> list[dict[str, Any]]:
    """The rows of the arms of so many epochs, written as JSON and drawn beside the results."""
    rows = table({job: result for job, result in finished(path).items() if json.loads(job)["epochs"] == epochs})
    found = {**conditions(), "epochs": epochs, "trials": TRIALS, "published": PUBLISHED, "rows": rows}
    path.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    draw(rows, path.with_suffix(".png"))
    return rows


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", help="the image folder that unpack.py laid out; else digits")
    parser.add_argument("--nets", nargs="+", default=list(PIXELS), choices=PIXELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--epochs", type=int, help="in all; 16 on digits, 40 on CIFAR-10")
    parser.add_argument("--draw", action="store_true", help="train nothing")
    options = parser.parse_args()
    options.epochs = options.epochs or (40 if options.cifar else 16)
    return options


def main() -> None:
    """Run what is missing, then write the table and the picture."""
    options = parsed()
    torch.set_num_threads(1)
    keep_freed()
    path = RESULTS / f"methods_published_{'cifar' if options.cifar else 'digits'}.jsonl"
    for job in () if options.draw else jobs(options):
        if key(job) not in finished(path):
            result = result_of(setting_of(job, options.cifar, path))
            keep(path, key(job), result)
            print(job.net, job.seed, job.arm, result["shares"], result["test"]["accuracy"], flush=True)
    for row in summary(path, options.epochs):
        print(row)


if __name__ == "__main__":
    main()
