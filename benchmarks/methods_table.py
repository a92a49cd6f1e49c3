"""The table and the picture of benchmarks/methods.py: mean and spread over seeds, beside the published figures."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]

PUBLISHED = [
    "PDD, ResNet-56 to ResNet-20, CIFAR-10: 39.53% of MACs and 32.77% of parameters saved at +0.17",
    "PDD, VGG-16 to VGG-11, CIFAR-10: 74.96% of MACs and 76.43% of parameters saved at -1.34",
    "KDDP: better accuracy and more compact than distillation, no figures readable",
    "block-wise, MobileNetV2: 2x MACs or 5.2x parameters saved at +1.05",
]
STYLES = {
    "kd": "ks",
    "fresh": "k^",
    "pdd_size": "kv",
    "kddp_size": "k<",
    "search_50": "C0*",
    "search_pdd": "C0*",
    "pdd": "C1o",
    "pdd_trained": "C1D",
    "kddp": "C2o",
    "macs_50": "C3o",
    "params_20": "C3D",
}


def table(results: Mapping[str, Row]) -> list[Row]:
    """Mean and spread over the seeds of each arm."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for name, result in results.items():
        job = json.loads(name)
        groups.setdefault((job["data"], job["net"], job["arm"]), []).append(result)
    return [{"data": data, "net": net, "arm": arm, **_row(found)} for (data, net, arm), found in groups.items()]


def _row(results: list[Row]) -> Row:
    test = [result["test"]["accuracy"] for result in results]
    row = {name: round(mean(result["shares"][name] for result in results), 4) for name in ("macs", "parameters")}
    row |= {"test": round(mean(test), 4), "spread": round(stdev(test), 4) if len(test) > 1 else None}
    row |= {"dense": round(mean(result["dense"]["accuracy"] for result in results), 4)}
    seconds = round(mean(result["seconds"] for result in results), 1)
    return row | {"n": results[0]["test"]["n"], "seeds": len(results), "seconds": seconds}


def draw(rows: list[Row], path: Path) -> None:
    """Test accuracy over the share of MACs that is left, a panel for each network, the dense network as a line."""
    from matplotlib.figure import Figure

    panels = sorted({(row["data"], row["net"]) for row in rows})
    figure = Figure(figsize=(5.5 * len(panels), 4.5), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        mine = [row for row in rows if (row["data"], row["net"]) == panel]
        for row in mine:
            x, y, error = 100 * row["macs"], 100 * row["test"], 100 * (row["spread"] or 0)
            axes.errorbar(x, y, error, fmt=STYLES[row["arm"]], ms=9, capsize=3, label=row["arm"])
        axes.axhline(100 * mine[0]["dense"], color="0.6", lw=1)
        axes.set(xlabel="MACs left, %", ylabel="test accuracy, %", title=" ".join(panel))
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
