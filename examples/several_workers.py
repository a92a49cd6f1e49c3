"""One search, several processes on it: each evaluates other widths, and all know what the others found.

python examples/several_workers.py postgresql://me@host/studies [--quick]

On several machines each worker types the same line with an --out of its own; here all are started on this one. A worker
that is killed loses only the trial it was at, and another repeats that.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from safetensors.torch import save_model
from several_budgets import trained

import secateur as sc

WORKERS = 2


def main(storage: str, quick: bool = False) -> list[dict[str, int]]:
    """The widths that each worker ends with: the same, since they share the search. ``storage``: the database."""
    side = 8 if quick else 16
    data = sc.open_data("digits", (3, side, side))
    save_model(trained(data, 1 if quick else 10), "dense.safetensors")  # load your own in its place
    asked = ["--weights", "dense.safetensors", "--input", f"3x{side}x{side}", "--flops", "40%", "--divisor", "8"]
    size = ["--trials", "3", "--views", "0"] if quick else ["--trials", "150"]
    line = ["search", "resnet20", *asked, *size, "--storage", storage, "--quiet"]
    outs = [Path("runs", f"worker-{number}") for number in range(WORKERS)]
    workers = [subprocess.Popen([sys.executable, "-m", "secateur", *line, "--out", str(out)]) for out in outs]
    if sum(worker.wait() for worker in workers):
        raise SystemExit("a worker failed; its last line says why")
    found = [winner(out) for out in outs]
    print(*found, sep="\n")
    return found


def winner(run: Path) -> dict[str, int]:
    """The width of each channel group of a search's winner."""
    groups = json.loads((run / "front.json").read_text())["winner"]["groups"]
    return {name: group["width"] for name, group in groups.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage", help="postgresql://USER@HOST/NAME")
    parser.add_argument("--quick", action="store_true", help="few trials and small images, to see that it runs")
    given = parser.parse_args()
    main(given.storage, given.quick)
