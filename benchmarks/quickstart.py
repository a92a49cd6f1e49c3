"""What the first command of the README ends with: ``secateur run``, a ResNet-20 that is trained on digits and halved.

    python benchmarks/quickstart.py [--out FOLDER]

Costs and scores of the dense, the pruned and the fine-tuned network, as ``run`` prints them, and the seconds of it all.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from conditions import conditions

from secateur.rundir.results import Results

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run, and write results/quickstart.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked, start = parser.parse_args(), time.perf_counter()
    with TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "secateur", "run", "--out", folder], check=True)
        arms = {arm.name: msgspec.to_builtins(arm.figures) for arm in Results.of(folder).arms}
    result = {**conditions(), "seconds": round(time.perf_counter() - start, 1), "arms": arms}
    (asked.out / "quickstart.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
