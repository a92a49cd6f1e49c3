"""Half the MACs, how much of the time? Six networks, batch 1 and 32, in torch and onnxruntime, and by divisor.

Each network at uniform widths, 50% of its MACs, beside the dense one, and in multiples of 4, 8 and 16 at the same MACs
(8 alone in onnxruntime); weights are random, as times do not depend on them. All variants run in turn after a warm-up,
in one thread. A time is the median of the processor's seconds (not the wall's: this way a machine that others use, too,
gives the same figures), with the quartiles. Every ONNX file is checked against torch within 1e-4 before it is timed.

    python benchmarks/export.py [--nets ...] [--rounds 10] [--out FOLDER]

Writes results/export.json, network by network (those that are there are not done again), and results/export.svg.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import onnxruntime
import torch
from conditions import conditions
from matplotlib.figure import Figure
from torch import nn

import secateur as sc
from secateur.deploy.divisors import DIVISORS, by_divisor, suggested
from secateur.deploy.formats import export_as
from secateur.models.timing.clock import Timing, time_interleaved
from secateur.models.timing.onnx_file import Answer, onnx_session

HERE = Path(__file__).parent
NETS = {  # pixels
    "resnet20": 32,
    "torchvision:mobilenet_v3_small": 96,
    "vgg16_bn": 32,
    "torchvision:resnet18": 96,
    "resnet56": 32,
    "mobilenetv2": 32,
}
BATCHES = (1, 32)
IN_ONNX = ("dense", "1", "8")
COLOURS = {1: "#0072b2", 4: "#e69f00", 8: "#009e73", 16: "#cc79a7"}


def sessions(networks: Mapping[str, nn.Module], side: int) -> tuple[dict[str, Answer], float]:
    """Each as onnxruntime runs it, in one thread, and the largest difference from torch."""
    with TemporaryDirectory() as folder:
        paths = {name: Path(folder, f"{name}.onnx") for name in networks}
        difference = max(
            export_as(each, (3, side, side), paths[name], {}).difference for name, each in networks.items()
        )
        return {name: onnx_session(path, 1) for name, path in paths.items()}, difference


def row(seconds: Mapping[str, Timing]) -> dict[str, Any]:
    """Milliseconds of each variant, the share of the dense time that it saves, and the divisor that pays."""
    variants = {int(name): each for name, each in seconds.items() if name != "dense"}
    saved = {str(name): round(1 - each.median / seconds["dense"].median, 4) for name, each in variants.items()}
    times = {name: [round(1e3 * each, 4) for each in (s.low, s.median, s.high)] for name, s in seconds.items()}
    return {"ms_low_median_high": times, "time_saved": saved, "suggested_divisor": suggested(variants)}


def job(name: str, rounds: int) -> dict[str, Any]:
    """One network: its MACs by variant, and a row for each engine and batch."""
    side = NETS[name]
    dense, example = sc.constructor(name, 10)().eval(), torch.zeros(1, 3, side, side)
    net = sc.Supernet.of(dense, example, check=False)
    whole = net.macs(net.dense)
    variants = by_divisor(dense, example, whole // 2, DIVISORS)
    networks: dict[str, nn.Module] = {"dense": dense, **{str(divisor): each for divisor, each in variants.items()}}
    exact = {name: macs(each, example) for name, each in networks.items()}
    onnx_answers, difference = sessions({name: networks[name] for name in IN_ONNX if name in networks}, side)
    engines: dict[str, Mapping[str, Any]] = {"torch": networks, "onnxruntime": onnx_answers}
    rows = {}
    for engine, answers in engines.items():
        for batch in BATCHES:
            images = torch.randn(batch, 3, side, side)
            rows[f"{engine}, {batch}"] = row(time_interleaved(answers, images, time.process_time, rounds))
            print(f"{name:32} {engine}, {batch}: saved {rows[f'{engine}, {batch}']['time_saved']}", flush=True)
    saved = {name: round(1 - each / whole, 4) for name, each in exact.items()}
    return {"pixels": side, "macs": exact, "macs_saved": saved, "onnx_difference": difference, "rows": rows}


def macs(model: nn.Module, example: torch.Tensor) -> int:
    """Of a network as it stands."""
    net = sc.Supernet.of(model, example, check=False)
    return net.macs(net.dense)


def drawn(nets: Mapping[str, Any]) -> Figure:
    """Time saved by each variant, a group of bars a network, a plot for each engine and batch."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    plots = figure.subplots(2, 2, sharex=True, sharey=True)
    for axes, key in zip(plots.flat, next(iter(nets.values()))["rows"], strict=True):
        for place, divisor in enumerate(COLOURS):
            bars = [100 * net["rows"][key]["time_saved"].get(str(divisor), 0) for net in nets.values()]
            at = [number + 0.2 * (place - 1.5) for number in range(len(nets))]
            label = "widths as they come" if divisor == 1 else f"multiples of {divisor}"
            axes.bar(at, bars, width=0.2, color=COLOURS[divisor], label=label)
        axes.axhline(50, color="#555555", ls="--", lw=1, label="MACs saved")
        axes.axhline(0, color="#222222", lw=0.8)
        axes.set_title(f"{key.replace(', ', ', batch ')}", fontsize=10)
        axes.set_xticks(range(len(nets)), [name.replace("torchvision:", "") for name in nets], rotation=20, ha="right")
    figure.supylabel("time saved, %")
    figure.legend(*plots[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def main() -> None:
    """Run, print, and write results/export.json and its picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=list(NETS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    path = asked.out / "export.json"
    nets: dict[str, Any] = json.loads(path.read_text())["nets"] if path.exists() else {}
    for name in (name for name in asked.nets if name not in nets):
        nets[name] = {**job(name, asked.rounds), "load": os.getloadavg()}
        result = {**conditions(onnx, onnxruntime), "rounds": asked.rounds, "nets": nets}
        path.write_text(json.dumps(result, indent=1) + "\n")
        drawn(nets).savefig(asked.out / "export.svg")


if __name__ == "__main__":
    main()
