"""Seconds to find the groups and halve every width, against torch-pruning, on four torchvision networks at 224 px.

Ours: ``Supernet.of(model, example, check=False)`` and ``slim`` to half of each width; again with the self-check.
torch-pruning: a new ``BasePruner`` and one ``step()`` at ratio 0.5, on a fresh copy that is not timed, since it prunes
in place. Both choose channels at random; imports are not timed; the arms alternate in one process, which keeps the
memory that it frees, as the command's does; figures are medians. ``floor``: the least that such a tracer does, one
forward pass without storage in which every operation is seen and answered by its shape (nothing is made of it), and
one deep copy of a network as narrow. Then how many width vectors of ResNet-56 are priced in a second, and what
``slim`` of half of ResNet-50 costs, in deep copies.

    python benchmarks/trace.py [--nets resnet50 ...] [--repeats 5] [--out FOLDER]

Targets, printed and written, never enforced: 5 times faster in the median over the networks and slower on none; a
million width vectors a second; ``slim`` in the time of three deep copies.
"""

import argparse
import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch_pruning as tp
import torchvision
from conditions import conditions
from torch import Tensor, nn
from zoo_nets import build
from zoo_records import Record, timed

import secateur as sc
from secateur.allocator import keep_freed
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.surgery.slim import slim
from secateur.models.tracing.meta import MetaShapes

HERE = Path(__file__).parent
NETS = ["resnet50", "densenet121", "mobilenet_v3_large", "inception_v3"]
PIXELS = 224
VECTORS = 100_000  # in one batch
FASTER, VECTORS_A_SECOND, DEEP_COPIES = 5, 1e6, 3  # the targets


def halves(net: sc.Supernet) -> Subnetwork:
    """Half of the channels of every group, any of them."""
    rng = np.random.default_rng(0)
    widths = np.array([max(1, group.width // 2) for group in net.groups])
    return top_channels([rng.random(group.width) for group in net.groups], widths)


def ours(model: nn.Module, example: Tensor, check: bool) -> nn.Module:
    """From a network to one of half its widths."""
    net = sc.Supernet.of(model, example, check=check)
    return slim(net, halves(net))


def theirs(model: nn.Module, example: Tensor, classifier: nn.Module) -> nn.Module:
    """The same by torch-pruning, in place."""
    pruner = tp.pruner.BasePruner(
        model,
        example,
        importance=tp.importance.RandomImportance(),
        pruning_ratio=0.5,
        ignored_layers=[classifier],
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    )
    pruner.step()
    return model


def floor(model: nn.Module, example: Tensor, narrow: nn.Module) -> nn.Module:
    """The least that must happen; ``model`` is without storage, ``narrow`` has half the widths."""
    with torch.no_grad(), MetaShapes():  # type: ignore[no-untyped-call]
        model(example.to("meta"))
    return copy.deepcopy(narrow)


def raced(arms: dict[str, Callable[[], Callable[[], object]]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each arm, in turns. An arm prepares, untimed, and returns what is timed."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, prepare in arms.items():
            seconds[name].append(timed(prepare())[0])
    return seconds


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    """The median of each arm."""
    return {name: median(each) for name, each in seconds.items()}


def against_torch_pruning(name: str, repeats: int) -> Record:
    """One network: medians, ratios and all seconds."""
    model, example = build(f"torchvision:{name}", PIXELS), torch.randn(1, 3, PIXELS, PIXELS)
    last = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)][-1]

    def fresh() -> Callable[[], object]:
        pruned = copy.deepcopy(model)
        return lambda: theirs(pruned, example, pruned.get_submodule(last))

    arms: dict[str, Callable[[], Callable[[], object]]] = {
        "secateur": lambda: lambda: ours(model, example, check=False),
        "torch-pruning": fresh,
        "secateur_checked": lambda: lambda: ours(model, example, check=True),
        "floor": lambda: lambda: floor(bare, example, narrow),
    }
    bare, narrow = copy.deepcopy(model).to("meta"), ours(model, example, check=False)
    seconds = raced(arms, repeats)
    middle = medians(seconds)
    times = {arm: round(middle["torch-pruning"] / middle[arm], 2) for arm in arms if arm != "torch-pruning"}
    return {"median": middle, "times_faster": times, "seconds": seconds}


def vectors_a_second(repeats: int) -> float:
    """Width vectors of ResNet-56 whose MACs are computed in a second, in one batch."""
    net = sc.Supernet.of(sc.constructor("resnet56", 10)(), torch.zeros(1, 3, 32, 32), check=False)
    rng = np.random.default_rng(0)
    widths = rng.integers(1, [group.width + 1 for group in net.groups], (VECTORS, len(net.groups)))  # (N, G)
    seconds = raced({"price": lambda: lambda: net.space.costs.macs(widths)}, repeats)
    return VECTORS / medians(seconds)["price"]


def deep_copies(repeats: int) -> float:
    """Seconds of slimming ResNet-50 to half its widths, in deep copies of it."""
    model = build("torchvision:resnet50", PIXELS)
    net = sc.Supernet.of(model, torch.zeros(1, 3, PIXELS, PIXELS), check=False)
    half = halves(net)
    arms: dict[str, Callable[[], Callable[[], object]]] = {
        "slim": lambda: lambda: slim(net, half),
        "deepcopy": lambda: lambda: copy.deepcopy(model),
    }
    middle = medians(raced(arms, repeats))
    return middle["slim"] / middle["deepcopy"]


def targets(result: Record) -> dict[str, bool]:
    """Which targets are met."""
    times = [net["times_faster"]["secateur"] for net in result["nets"].values()]
    return {
        f"{FASTER} times faster in the median": median(times) >= FASTER,
        "slower on none": min(times) >= 1,
        f"{VECTORS_A_SECOND:.0e} width vectors a second": result["vectors_a_second"] >= VECTORS_A_SECOND,
        f"slim within {DEEP_COPIES} deep copies": result["slim_in_deep_copies"] <= DEEP_COPIES,
    }


def main() -> None:
    """Run, print, and write results/trace.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=NETS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    asked = parser.parse_args()
    keep_freed()
    warnings.simplefilter("ignore")  # torch-pruning's, on every network
    ours(build("torchvision:resnet18", PIXELS), torch.zeros(1, 3, PIXELS, PIXELS), check=True)  # warm up
    nets: Record = {}
    for name in asked.nets:
        nets[name] = against_torch_pruning(name, asked.repeats)
        print(name, nets[name]["median"], "times faster:", nets[name]["times_faster"], flush=True)
    result: Record = {
        **conditions(torchvision, tp),
        "repeats": asked.repeats,
        "nets": nets,
        "median_times_faster": median(net["times_faster"]["secateur"] for net in nets.values()),
        "median_times_faster_of_the_floor": median(net["times_faster"]["floor"] for net in nets.values()),
        "vectors_a_second": round(vectors_a_second(asked.repeats)),
        "slim_in_deep_copies": round(deep_copies(asked.repeats), 2),
    }
    result["targets_met"] = targets(result)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "trace.json").write_text(json.dumps(result, indent=1) + "\n")
    for key in ("median_times_faster", "median_times_faster_of_the_floor", "vectors_a_second", "slim_in_deep_copies"):
        print(key, result[key])
    for target, met in result["targets_met"].items():
        print("met:    " if met else "NOT met:", target)


if __name__ == "__main__":
    main()
