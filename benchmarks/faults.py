"""What comes of faults: the same result, rebuilt, refused by name; or another result in silence, or a traceback.

``kills``: whole runs on digits, killed at a random moment of each stage and resumed by the same command, against runs
that nobody touched. ``damage``: every file of a run damaged in thirteen ways, and the same command again. ``fuzz``:
random inputs over every reader. ``starts``: a fresh interpreter, ended by SIGINT, SIGTERM and SIGHUP at random moments
of its imports and first steps. ``disk``: a small disk that is full at the start and in the middle of each stage, and
room made. ``workers``: a search on PostgreSQL that four workers share, one of them killed every ten seconds, while the
server is restarted.

    python benchmarks/faults.py [--parts kills damage fuzz starts disk workers] [--kills 50] [--inputs 100000]
                                [--starts 12] [--trials 500] [--seed 0] [--out FOLDER]

Needs Linux; ``disk`` needs root, and ``workers`` the extra ``postgres`` with the programs of PostgreSQL. What
results/faults.json holds is not done again: delete it to begin anew. The columns ``another`` and ``traceback`` must be
0.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import damaged
import disk
import dying_workers
import fuzz
import kills
import starts
import torch
from conditions import conditions

OUTCOMES = ("identical", "rebuilt", "refused", "read", "another", "traceback")
PARTS: dict[str, Callable[[argparse.Namespace, Path], Iterator[kills.Unit]]] = {
    "kills": lambda asked, folder: kills.units(asked.kills, asked.seed, folder),
    "damage": lambda asked, folder: damaged.units(folder),
    "fuzz": lambda asked, folder: fuzz.units(asked.inputs, asked.seed, folder),
    "starts": lambda asked, folder: starts.units(asked.starts, asked.seed, folder),
    "disk": lambda asked, folder: disk.units(folder),
    "workers": lambda asked, folder: dying_workers.units(asked.trials, asked.seed),
}


def table(parts: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    """How often each outcome came of each fault."""
    found: dict[str, Counter[str]] = {}
    for units in parts.values():
        for unit in units.values():
            found.setdefault(unit["fault"], Counter()).update(unit["outcomes"])
    return {
        fault: {"times": count.total(), **{name: count[name] for name in OUTCOMES}} for fault, count in found.items()
    }


def main() -> None:
    """Run what is not done yet, print the table, and write results/faults.json after each unit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=[*PARTS], choices=PARTS)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--starts", type=int, default=12)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    path = asked.out / "faults.json"
    earlier = json.loads(path.read_text()) if path.exists() else {}
    parts, commits = earlier.get("parts", {}), earlier.get("commits", {})
    for part in asked.parts:
        with tempfile.TemporaryDirectory() as folder:
            for name, work in PARTS[part](asked, Path(folder)):
                if name not in (done := parts.setdefault(part, {})):
                    done[name] = work()
                    print(part, name, done[name], flush=True)
                    about = conditions()
                    commits[part] = about["commit"]
                    result = {**about, "commits": commits, "table": table(parts), "parts": parts}
                    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{'fault':36}{'times':>9}" + "".join(f"{name:>11}" for name in OUTCOMES))
    for fault, row in table(parts).items():
        print(f"{fault:36}" + "".join(f"{each:>{9 if name == 'times' else 11}}" for name, each in row.items()))


if __name__ == "__main__":
    main()
