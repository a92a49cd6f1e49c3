"""What the first command of the README ends with: ``secateur run``, a ResNet-20 that is trained on digits and pruned.

    python benchmarks/quickstart.py [--out FOLDER]

Costs and scores of the dense, the pruned and the fine-tuned network, as ``run`` prints them, what each stage came to,
and the seconds of it all: by the clock, and of the processor, which other programs beside it do not lengthen.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
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
        found = Results.of(folder)
        arms = {arm.name: msgspec.to_builtins(arm.figures) for arm in found.arms}
        stages = {name: outcome.to_dict() for name, outcome in found.stages.done().items() if name != "test"}
    seconds, used = time.perf_counter() - start, getrusage(RUSAGE_CHILDREN)
    spent = {"seconds": round(seconds, 1), "processor seconds": round(used.ru_utime + used.ru_stime, 1)}
    result = {**conditions(), **spent, "asked": found.config.goal, "arms": arms, "stages": stages}
    (asked.out / "quickstart.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
