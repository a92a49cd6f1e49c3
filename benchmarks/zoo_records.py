"""What zoo.py finds out about one network, by us and by torch-pruning, each in a process of its own."""

import json
import time
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from zoo_checks import CLOSE, SUBNETWORKS, as_trained, costs_equal, random_subnetwork, rounding, worst_gaps
from zoo_nets import build, layer_macs, least_size

import secateur as sc

LARGEST = 100_000_000  # parameters
Record = dict[str, Any]


def share(macs: Counter[str], reached: set[str]) -> float:
    """The reachable share."""
    return round(sum(n for name, n in macs.items() if name in reached) / macs.total(), 4)


def timed(make: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what was made."""
    start = time.perf_counter()
    made = make()
    return round(time.perf_counter() - start, 3), made


def short(reason: str) -> str:
    """A reason without its particulars."""
    return reason.partition(" (")[0].partition(" from ")[0]


def inspected(name: str, count: int) -> Record:
    """Everything about one network but the outcome; outputs are compared on ``count`` images."""
    pixels, bare = least_size(name)
    parameters = sum(p.numel() for p in bare.parameters())
    macs = layer_macs(deepcopy(bare), pixels)
    record: Record = {"pixels": pixels, "images": count, "parameters": parameters, "macs": macs.total()}
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, pixels, pixels, generator=generator)
    built = parameters <= LARGEST
    model = as_trained(build(name, pixels), images) if built else bare
    example = images[:1] if built else images[:1].to("meta")
    plain_seconds, plain = timed(lambda: sc.Supernet.of(model, example, check=False))
    check_seconds, net = timed(lambda: sc.Supernet.of(model, example))
    traced = {group.name for group in plain.groups}
    wide = [group for group in net.groups if group.width > 1]
    record |= {
        "groups": len(wide),
        "single": len(net.groups) - len(wide),
        "frozen": len(net.frozen),
        "reasons": Counter(short(group.frozen or "") for group in net.frozen),
        "frozen_by_check": {g.name: (g.frozen or "")[:160] for g in net.frozen if g.name in traced},
        "reachable": share(macs, {m.tensor.rpartition(".")[0] for group in wide for m in group.members}),
        "seconds": {"trace": plain_seconds, "trace_and_check": check_seconds},
    }
    record["costs_equal"] = costs_equal(replace(net, model=bare), images[:1].to("meta"))
    record["rounding"] = (
        max(rounding(net, random_subnetwork(net, seed), images) for seed in range(SUBNETWORKS)) if built else None
    )
    record["gaps"] = {str(d).removeprefix("torch."): worst for d, worst in worst_gaps(net, images)} if built else {}
    return record


def outcome(record: Record) -> Record:
    """OK, or what is wrong."""
    loose = [
        f"outputs differ by {worst:.1e} in {dtype} with {mode} statistics"
        for dtype, modes in record["gaps"].items()
        for mode, worst in modes.items()
        if not worst <= CLOSE[getattr(torch, dtype)]
    ]
    if not record["groups"]:
        return {"outcome": "frozen-all"}
    wrong = [*loose, *([] if record["costs_equal"] else ["costs differ from those counted"])]
    single = record["gaps"].get("float32", {})
    if wrong == loose[:1] and CLOSE[torch.float32] < single.get("batch", 0) <= 2 * record["rounding"]:
        return {"outcome": "rounding", "error": f"{wrong[0]}, float32 alone makes {record['rounding']:.1e}"}
    return {"outcome": "failed", "error": wrong[0]} if wrong else {"outcome": "OK"}


def first_line(error: Exception) -> str:
    """The kind of an error and its first line."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:200]


def ours(name: str, count: int) -> None:
    """Print one network's record."""
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)
    sc.Supernet.of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), torch.zeros(1, 3, 8, 8))  # warm up
    try:
        record = inspected(name, count)
        record |= outcome(record)
    except Exception as error:  # whatever goes wrong in one network is a result of this benchmark
        record = {"outcome": "failed", "error": first_line(error)}
    print(json.dumps(record), flush=True)


def peer(name: str, _: int) -> None:
    """Print torch-pruning's record, after every step anew."""
    import torch_pruning as tp

    pixels, bare = least_size(name)
    macs = layer_macs(bare, pixels)
    model, example = build(name, pixels), torch.randn(1, 3, pixels, pixels)
    record: Record = {}
    try:
        record["seconds"], pruner = timed(
            lambda: tp.pruner.BasePruner(
                model,
                example,
                importance=tp.importance.MagnitudeImportance(p=2),
                pruning_ratio=0.5,
                ignored_layers=[model.get_submodule(list(macs)[-1])],
                in_channel_groups={},
                out_channel_groups={},
                num_heads={},
            )
        )
        print(json.dumps(record), flush=True)
        groups = [
            [dep.target.module for dep, _ in group]
            for group in pruner.DG.get_all_groups(pruner.ignored_layers, pruner.root_module_types)
        ]
        named = {module: n for n, module in model.named_modules()}
        inside = {m for group in groups for top in group if top in named for m in top.modules()}
        record |= {"groups": len(groups), "reachable": share(macs, {named[m] for m in inside})}
        print(json.dumps(record), flush=True)
        pruner.step()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(example)
        record |= {"step": "runs", "kept": round(counter.get_total_flops() / 2 / macs.total(), 4)}
    except Exception as error:
        record["step"] = first_line(error)
    print(json.dumps(record), flush=True)
