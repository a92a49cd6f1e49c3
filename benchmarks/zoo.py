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
from collections import Counter
from pathlib import Path

import torchvision
from conditions import conditions
from zoo_nets import names, with_peer
from zoo_records import Record, ours, peer

HERE = Path(__file__).parent
SECONDS, PEER_SECONDS = 1800, 60


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
