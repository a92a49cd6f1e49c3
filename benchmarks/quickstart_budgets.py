"""Which budget shows on scikit-learn's digits what search, bank and transfer do: ResNet-20, several budgets and seeds.

    python benchmarks/quickstart_budgets.py [--flops 50% 25% ...] [--seeds 0 1] [--out FOLDER]

A row a run of ``secateur run --flops F --method ckt --seed S``: scores of the dense, the pruned and the fine-tuned
network, the loss of the coarse proposal and of what Optuna made of it, the bank's interim teachers, and the seconds.
The dense network is trained once a seed. About two minutes a run; rows that are in the result are not measured again.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from conditions import conditions

from secateur.rundir.manifest import read_manifest
from secateur.rundir.outcomes import Stages

RESULTS = Path(__file__).parent / "results"
METHOD = "ckt"  # whose teachers are interim subnetworks
FLOPS = ("50%", "25%", "20%", "15%", "10%")


def main() -> None:
    """Run what is missing, and write results/quickstart_budgets.json after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flops", nargs="+", default=FLOPS)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1))
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    path = asked.out / "quickstart_budgets.json"
    rows = json.loads(path.read_text())["runs"] if path.exists() else []
    with TemporaryDirectory() as folder:
        for seed in asked.seeds:
            for flops in asked.flops:
                if not any((row["flops"], row["seed"]) == (flops, seed) for row in rows):
                    rows.append(one(flops, seed, Path(folder)))
                    path.write_text(json.dumps({**conditions(), "runs": rows}, indent=1) + "\n")


def one(flops: str, seed: int, folder: Path) -> dict[str, Any]:
    """The row of one run; the first of a seed trains the dense network."""
    out, weights = folder / f"{flops}-{seed}", folder / f"{seed}.safetensors"
    start = time.perf_counter()
    how = ("--flops", flops, "--method", METHOD, "--seed", str(seed))
    secateur("run", *how, "--out", str(out), *given(weights))
    seconds = round(time.perf_counter() - start, 1)
    if not weights.exists():
        weights.write_bytes((out / "dense/weights.safetensors").read_bytes())
    return {"flops": flops, "seed": seed, "seconds": seconds, **story(read_manifest(out).stages)}


def given(weights: Path) -> Sequence[str]:
    """The dense weights, once they are there."""
    return ("--weights", str(weights)) if weights.exists() else ()


def secateur(*words: str) -> None:
    """One command, whose mistakes end this."""
    subprocess.run([sys.executable, "-m", "secateur", *words], check=True)


def story(stages: Stages) -> dict[str, Any]:
    """What the stages came to."""
    assert stages.test
    assert stages.search
    assert stages.bank
    assert stages.transfer
    arms = {name: msgspec.to_builtins(getattr(stages.test, name)) for name in ("dense", "pruned", "tuned")}
    interim = sorted(stages.transfer.teachers or (), key=lambda each: each.macs)[:-1]
    return {
        **arms,
        "holdout loss": {"coarse": stages.search.start.loss, "winner": stages.search.winner.loss},
        "evaluations": stages.search.evaluations,
        "interim teachers": len(interim),
        "missing teachers": stages.bank.missing,
        "used": [each.open for each in interim],
        "stage seconds": {name: outcome.seconds for name, outcome in stages.done().items()},
    }


if __name__ == "__main__":
    main()
