"""What do the examples of other tasks reach, whole?

Segmentation, regression, multi-label, a detector, signals and four channels.

    python benchmarks/tasks.py [NAME ...] [--out FOLDER]

Runs ``main`` of each script in examples/, one after the other on one thread, and adds its metric on test data, dense
and slim, its share of the MACs and its seconds to results/tasks.json as it ends. What is there is run again.
"""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

import torch
from conditions import conditions

HERE = Path(__file__).parent
NAMES = ("segmentation", "regression", "multi_label", "detector", "one_dimension", "four_channels")


def main() -> None:
    """Run, and write tasks.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, choices=NAMES)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    asked = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / "examples"))
    torch.set_num_threads(1)
    path = asked.out / "tasks.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else {}
    for name in asked.names:
        start = time.perf_counter()
        chain = importlib.import_module(name).main()
        figures = {"metric": chain.metric, "dense": chain.dense, "slim": chain.slim, "macs": chain.macs}
        now = conditions()
        rows[name] = {**figures, "seconds": round(time.perf_counter() - start), "commit": now["commit"]}
        path.write_text(json.dumps({**now, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
