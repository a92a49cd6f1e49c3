"""What an evaluation in the search costs, and how much of that is the forward pass of the slimmed network itself.

ResNet-20 and ResNet-56 (CIFAR-10, JPEG copy) at 50% of MACs, 1,000 holdout images with batch statistics. First the
parts of an evaluation as the search makes it, each time of other random widths: narrowing with compensation, the
forward pass, and the whole with loss and accuracy. Then the forward pass alone, warmed up, for batch sizes, memory
formats and precisions; then for widths in multiples of 1, 2, 4 and 8 at the same budget, beside the dense network.
Arms alternate; figures are medians.

    python benchmarks/evaluation.py CIFAR_FOLDER [--nets resnet20 resnet56] [--threads 2] [--repeats 5]
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from conditions import conditions
from torch import Tensor, nn
from trained import trained
from tuned import opened

import secateur as sc
from secateur.data.dataset import Data
from secateur.models.compensation.gram import grams
from secateur.models.compensation.ridge import refit
from secateur.models.costs.widths import fit_to_budget
from secateur.models.evaluate import batch_statistics, evaluate_as_is
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.surgery.slim import slim
from secateur.search.importance.magnitude import l1

RESULTS = Path(__file__).parent / "results"
IMAGES, BATCH = 1000, 500
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
MULTIPLES = (1, 2, 4, 8)


def forward(model: nn.Module, batches: Sequence[Tensor], layout: str, lower: bool = False) -> float:
    """Seconds of the forward pass alone; one batch first, untimed. ``lower``: bfloat16 autocast."""
    model = model.to(memory_format=FORMATS[layout])
    batches = [batch.contiguous(memory_format=FORMATS[layout]) for batch in batches]
    with torch.no_grad(), batch_statistics(model), torch.autocast("cpu", torch.bfloat16, enabled=lower):
        model(batches[0])
        start = time.perf_counter()
        for batch in batches:
            model(batch)
        return time.perf_counter() - start


def cut(images: Tensor, size: int) -> list[Tensor]:
    """Batches of ``size``."""
    return [images[start : start + size] for start in range(0, len(images), size)]


def rounds(arms: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """The median seconds of each arm, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, arm in arms.items():
            seconds[name].append(arm())
    middle = {name: round(median(each), 4) for name, each in seconds.items()}
    print(middle, flush=True)
    return middle


def drawn(net: sc.Supernet, count: int) -> list[Subnetwork]:
    """Random widths at 50% of MACs."""
    random, scores = np.random.default_rng(0), l1(net)
    shares = random.uniform(0.4, 1.0, (count, len(net.groups)))
    return [
        top_channels(scores, fit_to_budget(net.space, net.budget("50%"), net.space.dense * share)) for share in shares
    ]


def parts(net: sc.Supernet, data: Data, count: int) -> dict[str, float]:
    """Medians over evaluations as the search makes them, each of other widths: seconds, share in the forward pass."""
    known, seconds = grams(net, data.train), list[tuple[float, float, float]]()
    for subnetwork in drawn(net, count + 1):
        start = time.perf_counter()
        model = refit(net, subnetwork, known)
        made, passes = time.perf_counter(), list[float]()
        model.register_forward_pre_hook(lambda *_, passes=passes: passes.append(-time.perf_counter()))
        model.register_forward_hook(lambda *_, passes=passes: passes.append(time.perf_counter()))
        with batch_statistics(model):
            evaluate_as_is(model, data.holdout, IMAGES)
        seconds.append((made - start, sum(passes), time.perf_counter() - start))
    made_, forward_, whole = (median(column) for column in zip(*seconds[1:], strict=True))  # the first warms up
    share = median(passes / total for _, passes, total in seconds[1:])
    figures = {"compensation": made_, "forward": forward_, "whole": whole, "candidates_a_second": 1 / whole}
    return {**figures, "share_of_forward": share}


def job(name: str, asked: argparse.Namespace) -> dict[str, object]:
    """One network."""
    data = opened(asked.cifar)
    net = trained(name, data, check=False)
    images = torch.cat([batch for batch, _, _ in data.holdout.batches(BATCH, IMAGES)])
    found = parts(net, data, 3 * asked.repeats)
    print(name, found, flush=True)
    narrow = slim(net, drawn(net, 1)[0])
    ways: dict[str, Callable[[], float]] = {
        f"{size} images, {layout}": partial(forward, narrow, cut(images, size), layout)
        for size in (100, 250, 500)
        for layout in FORMATS
    }
    whole = cut(images, BATCH)
    ways["500 images, channels_last, bfloat16"] = partial(forward, narrow, whole, "channels_last", True)
    models = {"dense": slim(net, net.dense)}
    for multiple in MULTIPLES:
        coarse = trained(name, data, divisor=multiple, check=False)
        models[f"multiples of {multiple}"] = slim(coarse, drawn(coarse, 1)[0])
    widths: dict[str, Callable[[], float]] = {
        f"{of}, {layout}": partial(forward, model, whole, layout) for of, model in models.items() for layout in FORMATS
    }
    return {"evaluation": found, "ways": rounds(ways, asked.repeats), "widths": rounds(widths, asked.repeats)}


def main() -> None:
    """Run, and write benchmarks/results/evaluation.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--nets", nargs="+", default=["resnet20", "resnet56"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    result = {**conditions(), "images": IMAGES, "nets": {name: job(name, asked) for name in asked.nets}}
    (RESULTS / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
