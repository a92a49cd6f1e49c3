"""What the checks against damage cost: their share of the processor time of whole runs.

Digests of JSON, tensors and images, SQLite's quick_check and the search for damaged files of the bank are timed within
the run itself, so that both sides of the ratio see the same machine. The runs are as small as they come, where a check
weighs most: a tiny network on digits.

    python benchmarks/checks.py [--runs 3] [--out FOLDER]

Target, printed and written, never enforced: at most 2% of a run.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch
from conditions import conditions
from kills import LINES, placed

from secateur import digests
from secateur.__main__ import main as command
from secateur.data import images
from secateur.models import seal
from secateur.search import coarse_to_fine
from secateur.stages import prepare

CHECKS: list[tuple[ModuleType, str]] = [
    (digests, "digest"),
    (seal, "_digest"),
    (images, "content_of"),
    (coarse_to_fine, "is_damaged"),
    (prepare, "require_room"),
]
SHARE = 0.02  # the target


def timed(spent: dict[str, float], name: str, check: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which adds its processor time to ``spent``."""

    def call(*args: Any, **options: Any) -> Any:
        start = time.thread_time()
        try:
            return check(*args, **options)
        finally:
            spent[name] += time.thread_time() - start

    return call


def run(line: list[str]) -> tuple[float, dict[str, float]]:
    """The processor seconds of a run, and those of its checks by name; once begun, once resumed after its end."""
    spent: dict[str, float] = defaultdict(float)
    whole = [(module, name, getattr(module, name)) for module, name in CHECKS]
    for module, name, check in whole:
        setattr(module, name, timed(spent, f"{module.__name__}.{name}", check))
    start = time.process_time()
    try:
        command([*line, "--quiet", "--json"])
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        for module, name, check in whole:
            setattr(module, name, check)
    return time.process_time() - start, dict(spent)


def main() -> None:
    """Run, print, and write results/checks.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    out = asked.out.absolute()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for kind, line in LINES.items():
        for number in range(asked.runs):
            with tempfile.TemporaryDirectory() as place:
                os.chdir(placed(Path(place) / "run"))
                seconds, checks = run(line)
                os.chdir(out)
            share = sum(checks.values()) / seconds
            parts = {name: round(each, 4) for name, each in checks.items()}
            found.setdefault(kind, []).append({"seconds": round(seconds, 2), "share": round(share, 5), "checks": parts})
            print(kind, number, found[kind][-1], flush=True)
            shares = {kind: median(each["share"] for each in runs) for kind, runs in found.items()}
            result = {**conditions(), "runs": found, "share": shares, "target": SHARE}
            (out / "checks.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
