"""Any CNN: the channel groups of torchvision's 80 classification and 3 segmentation networks and of 33 of timm.

For each network, randomly initialised: how many groups can be pruned, how many are frozen and why, what share of the
MACs a group reaches, and whether three random subnetworks compute what the dense network computes without the
removed channels. torch-pruning beside it, once a family, 60 seconds each.

    python benchmarks/zoo.py [--only NAME ...] [--ours] [--out FOLDER]

Outcomes: ``OK`` all checks pass; ``frozen-all`` nothing can be pruned; ``failed`` with the first line of the error;
``rounding`` all pass but float32 with batch statistics, where the difference is at most twice what float32 makes of
the slimmed network (its outputs in float32 against its own in float64): two networks that both round.
Reachable share: a convolution or linear layer is reached where a group narrows a dimension of its weight, so where its
input or its output width can change. Groups of a single channel, which has to stay, reach nothing and are counted
apart. The share is the MACs of the reached layers in those of all convolutions and linear layers of the dense network
(attention's products of activations are in neither). For torch-pruning a layer is reached when it is in one of the
groups that ``get_all_groups`` gives with the last layer ignored.
Networks above 100 M parameters are traced and priced only, without storage. ``--images``: that outputs are compared on.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from conditions import conditions
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from zoo_nets import build, layer_macs, least_size, names, with_peer

import secateur as sc
from secateur.models.evaluate import batch_statistics
from secateur.models.subnetwork import Subnetwork
from secateur.models.surgery.reference import reference
from secateur.models.surgery.slim import slim
from secateur.models.tracing.modules import tensors_in

HERE = Path(__file__).parent
SUBNETWORKS = 3
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-9}  # of the largest output
LARGEST = 100_000_000  # parameters
SECONDS, PEER_SECONDS = 1800, 60
Record = dict[str, Any]


def share(macs: Counter[str], reached: set[str]) -> float:
    """The reachable share."""
    return round(sum(n for name, n in macs.items() if name in reached) / macs.total(), 4)


@torch.no_grad()
def as_trained(model: nn.Module, images: Tensor) -> nn.Module:
    """No constant parameter (zeros, ones and tiny scales hide mistakes), running statistics of these images."""
    for parameter in model.parameters():
        if parameter.numel() > 1 and (parameter == parameter.flatten()[0]).all():
            ones = float(parameter.flatten()[0]) == 1
            parameter.uniform_(0.5, 1.5) if ones else parameter.normal_(0, 0.2)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()


def random_subnetwork(net: sc.Supernet, seed: int) -> Subnetwork:
    """Any channels of any number."""
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(g.width, rng.integers(1, g.width + 1), replace=False) for g in net.groups]
    return Subnetwork(tuple(tuple(np.sort(channels).tolist()) for channels in chosen))


def gap(slimmed: nn.Module, net: sc.Supernet, subnetwork: Subnetwork, images: Tensor) -> float:
    """The largest difference to the reference, as a share of the largest output; NaN where an output is not finite."""
    with torch.no_grad():
        pairs = list(zip(tensors_in(slimmed(images)), reference(net, subnetwork, images), strict=True))
    return float(torch.stack([(a - b).abs().max() / b.abs().max() for a, b in pairs]).max())


def gaps(net: sc.Supernet, subnetwork: Subnetwork, images: Tensor) -> Record:
    """With running statistics and with those of the batch."""
    slimmed = slim(net, subnetwork).eval()
    running = gap(slimmed, net, subnetwork, images)
    with batch_statistics(net.model), batch_statistics(slimmed):
        return {"running": running, "batch": gap(slimmed, net, subnetwork, images)}


def worst_gaps(net: sc.Supernet, images: Tensor) -> Iterator[tuple[torch.dtype, Record]]:
    """The worst gaps over the random subnetworks, in both precisions."""
    for dtype in CLOSE:
        typed = replace(net, model=net.model.to(dtype))
        each = [gaps(typed, random_subnetwork(net, seed), images.to(dtype)) for seed in range(SUBNETWORKS)]
        yield dtype, {mode: float(np.max([g[mode] for g in each])) for mode in each[0]}  # NaN wins


@torch.no_grad()
def rounding(net: sc.Supernet, subnetwork: Subnetwork, images: Tensor) -> float:
    """How far float32 takes a slimmed network from itself in float64, with batch statistics; as ``gap``."""
    slimmed = slim(net, subnetwork)
    double = deepcopy(slimmed).double()
    with batch_statistics(slimmed), batch_statistics(double):
        pairs = list(zip(tensors_in(slimmed(images)), tensors_in(double(images.double())), strict=True))
    return float(torch.stack([(a - b).abs().max() / b.abs().max() for a, b in pairs]).max())


def costs_equal(net: sc.Supernet, example: Tensor) -> bool:
    """Whether the closed forms give half of torch's FLOPs, and the parameters, of the slimmed networks."""
    return all(_costs_equal(net, random_subnetwork(net, seed), example) for seed in range(SUBNETWORKS))


def _costs_equal(net: sc.Supernet, subnetwork: Subnetwork, example: Tensor) -> bool:
    slimmed = slim(net, subnetwork).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        slimmed(example)
    found = counter.get_total_flops() / 2, sum(p.numel() for p in slimmed.parameters())
    return found == (net.macs(subnetwork), net.parameters(subnetwork))


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


def in_a_process(part: str, name: str, count: int, seconds: int) -> Record:
    """The last record that a fresh process prints, and how it ended where it did not end well."""
    line = [sys.executable, "-W", "ignore", __file__, "--part", part, "--images", str(count), "--only", name]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=seconds)
        printed, ended = done.stdout, f"ended with status {done.returncode}" if done.returncode else None
    except subprocess.TimeoutExpired as late:
        printed, ended = (late.stdout or b"").decode(), f"not done in {seconds} s"
    records = [json.loads(text) for text in printed.splitlines() if text.startswith("{")]
    record: Record = records[-1] if records else {}
    ending = {"step": ended} if part == "peer" else {"outcome": "failed", "error": ended}
    return record | ending if ended else record


def row(name: str, record: Record) -> str:
    """One line of the table."""
    other, seconds, most = record.get("peer", {}), record.get("seconds", {}), record.get("gaps", {})
    reasons: Counter[str] = Counter(record.get("reasons", {}))
    del reasons["is an output of the network"]
    cells = [
        name, record.get("pixels"), record["outcome"], record.get("groups"), record.get("frozen"),
        record.get("single"), percent(record.get("reachable")), seconds.get("trace"), seconds.get("trace_and_check"),
        *(f"{max(most[d].values()):.0e}" if d in most else None for d in ("float32", "float64")),
        other.get("groups"), percent(other.get("reachable")), other.get("seconds"),
        " ".join(filter(None, [other.get("step", "")[:60].replace("|", "/"), percent(other.get("kept"))])) or None,
        record.get("error") or "; ".join(f"{n} {why}" for why, n in reasons.most_common(3)),
    ]  # fmt: skip
    return "| " + " | ".join("-" if cell is None else str(cell) for cell in cells) + " |"


def percent(part: float | None) -> str | None:
    """A share, readable."""
    return None if part is None else f"{part:.1%}"


def table(result: Record) -> str:
    """The whole result in Markdown."""
    nets = result["nets"]
    heads = [
        "network", "px", "outcome", "groups", "frozen", "single", "reachable", "trace s", "with check s", "gap f32",
        "gap f64", "tp groups", "tp reachable", "tp build s", "tp step at 0.5, MACs kept",
        "frozen (but outputs), or error",
    ]  # fmt: skip
    counts = Counter(record["outcome"] for record in nets.values())
    lines = [
        f"{len(nets)} networks: " + ", ".join(f"{n} {what}" for what, n in counts.most_common()) + ". "
        f"torch {result['versions']['torch']}, {result['machine']}, {result['threads']} threads. tp: torch-pruning.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *(row(name, record) for name, record in nets.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is not in results/zoo.json yet; write it and results/zoo.md after every network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="these networks, even where there is a result")
    parser.add_argument("--images", type=int, default=4, help="that outputs are compared on")
    parser.add_argument("--ours", action="store_true", help="without torch-pruning")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--part", choices=["ours", "peer"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        return {"ours": ours, "peer": peer}[asked.part](asked.only[0], asked.images)
    path: Path = asked.out / "zoo.json"
    known: Record = json.loads(path.read_text())["nets"] if path.exists() else {}
    import timm
    import torch_pruning

    result: Record = {**conditions(torchvision, timm, torch_pruning), "nets": known}
    for n, name in enumerate(asked.only or names(), 1):
        record = known.get(name, {}) if not asked.only else {}
        if "outcome" not in record:
            record = in_a_process("ours", name, asked.images, SECONDS) | {"commit": result["commit"]}
        if with_peer(name) and "peer" not in record and not asked.ours:
            record["peer"] = in_a_process("peer", name, asked.images, PEER_SECONDS)
        known[name] = record
        result["nets"] = {each: known[each] for each in names() if each in known}
        path.write_text(json.dumps(result, indent=1) + "\n")
        path.with_suffix(".md").write_text(table(result))
        print(n, row(name, record), flush=True)


if __name__ == "__main__":
    main()
