"""The results of arms, kept line by line: which are missing, and the table of those that are there."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from arm_bench import Job, key
from tuned import finished


def table(done: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Each arm over its seeds: mean and spread of accuracy, and mean cost, in order of test accuracy."""
    groups = defaultdict(list)
    for job, result in done.items():
        about = json.loads(job)
        seed = about.pop("seed")
        groups[json.dumps(about)].append({"seed": seed, **result})
    lines = []
    for about_arm, runs in groups.items():
        line: dict[str, Any] = {**json.loads(about_arm), "seeds": sorted(each["seed"] for each in runs)}
        for split in ("holdout", "test"):
            found = [each[split]["accuracy"] for each in runs]
            line[split] = {"mean": fmean(found), "std": stdev(found) if len(found) > 1 else None}
        names = runs[0]["cost"]
        lines.append({**line, "cost": {name: fmean(each["cost"][name] for each in runs) for name in names}})
    return sorted(lines, key=lambda line: (line["net"], line["epochs"], -line["test"]["mean"]))


def shown(line: dict[str, Any]) -> str:
    """A line of the table as text."""
    test, spread = line["test"]["mean"], line["test"]["std"]
    after = f"({100 * spread:.2f}, n={len(line['seeds'])})" if spread is not None else ""
    cost = line["cost"]["dense epochs"]
    about = f"{line['net']} {line['epochs']:3d} epochs {line['arm']:20s}"
    return f"{about} {100 * test:.2f}% {after:14s} {cost:6.2f} dense epochs"


def missing(jobs: Sequence[Job], path: Path) -> Job | None:
    """The first job that has no result yet, also by another process."""
    done = finished(path)
    return next((job for job in jobs if key(job) not in done), None)
