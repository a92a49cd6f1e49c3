"""Are training steps as fast as in another checkout, and how much of an evaluation is the forward pass?

ResNet-20 halved uniformly, scikit-learn's digits at 32 pixels, batches of 128, one thread. Two processes, one for each
checkout, take the steps of ``sc.finetune`` in turns, only one at a time, so that whatever else the machine does slows
both alike. Seconds are processor time of a whole step: reading, augmenting, forward, backward, optimizer. The ratio is
the median over pairs of steps, now / before; its error is the standard error of that median. Both start from the same
inherited weights: ``same_weights`` says whether they end in the same, bit for bit. The last step of an
epoch, which scores the holdout now and did not before, is counted apart.

    python benchmarks/speed.py CHECKOUT [--steps 64]
"""

import argparse
import hashlib
import inspect
import json
import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

METHODS = ("ce", "kd")
SCRIPT = Path(__file__).resolve()
PER_EPOCH = 8  # steps of 128 in 1,078 images


def serve(method: str, steps: int) -> None:
    """Train; before each step wait for a line, and after it print its seconds, at last a digest of the weights."""
    import secateur as sc  # the checkout that this process was started with

    torch.set_num_threads(1)
    data = sc.open_data("digits", (3, 32, 32))
    torch.manual_seed(0)
    net = sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example)
    halves = sc.Subnetwork(tuple(tuple(range(-(-len(kept) // 2))) for kept in net.dense.kept))
    start = 0.0

    def wait(what: str, done: int, total: int) -> None:
        nonlocal start
        if "fine-tuning" in what:
            print(time.process_time() - start, flush=True)
            sys.stdin.readline()
            start = time.process_time()

    start = time.process_time()
    named = "student" if "student" in inspect.signature(sc.finetune).parameters else "start"  # as it was called before
    how: dict[str, Any] = {"epochs": steps // PER_EPOCH, "method": method, "progress": wait}
    student = sc.finetune(net, halves, None, data, **how, **{named: inherited(net, halves)})
    weights = b"".join(x.numpy().tobytes() for x in student.state_dict().values())
    print(hashlib.sha256(weights).hexdigest()[:16], flush=True)


def inherited(net: Any, subnetwork: Any) -> Any:
    """The subnetwork with the dense network's weights, a start that every checkout has."""
    home = "models.surgery.slim" if find_spec("secateur.models.surgery") else "models.slim"
    return import_module(f"secateur.{home}").slim(net, subnetwork)


def started(checkout: Path, folder: Path, method: str, steps: int) -> "subprocess.Popen[str]":
    """A process that serves steps of the checkout."""
    folder.mkdir()
    (folder / "secateur").symlink_to(checkout.resolve())
    command = [sys.executable, str(SCRIPT), str(checkout), "--steps", str(steps), "--serve", method]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}, **pipes)


def answer(process: "subprocess.Popen[str]") -> str:
    """The next line."""
    assert process.stdout
    return process.stdout.readline().strip()


def go(process: "subprocess.Popen[str]") -> None:
    """Let it take another step."""
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def in_turns(checkouts: dict[str, Path], method: str, steps: int) -> dict[str, Any]:
    """Seconds of steps in two checkouts, one step each in turn, and their ratio."""
    with TemporaryDirectory() as folder:
        both = {name: started(place, Path(folder, name), method, steps) for name, place in checkouts.items()}
        for process in both.values():
            answer(process)  # the first step also gathers what compensation needs
        rows = []
        for step in range(1, steps):
            row = {}
            for name in sorted(both, reverse=bool(step % 2)):
                go(both[name])
                row[name] = float(answer(both[name]))
            rows.append(row)
            print(method, step, row, flush=True)
        for process in both.values():
            go(process)
        return {**_figures(rows), "same_weights": len({answer(process) for process in both.values()}) == 1}


def _figures(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Of plain steps, the last of an epoch left out, and of those."""
    plain = [row for step, row in enumerate(rows, 2) if step % PER_EPOCH]
    ends = [row for step, row in enumerate(rows, 2) if not step % PER_EPOCH]
    ratios = np.array([row["now"] / row["before"] for row in plain])
    error = 1.253 * ratios.std(ddof=1) / len(ratios) ** 0.5
    seconds = {name: round(median(row[name] for row in plain), 4) for name in ("before", "now")}
    lasts = {name: round(median(row[name] for row in ends), 4) for name in ("before", "now")}
    figures = {"ratio": round(float(np.median(ratios)), 4), "error": round(float(error), 4), "pairs": len(ratios)}
    return {"seconds": seconds, **figures, "last_of_epoch": lasts}


def share_of_forward() -> float:
    """Of an evaluation as the search makes it, ResNet-20 on the holdout of digits."""
    from evaluation import parts

    import secateur as sc

    data = sc.open_data("digits", (3, 32, 32))
    net = sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example)
    return round(parts(net, data, 10)["share_of_forward"], 3)


def main() -> None:
    """Run, and write benchmarks/results/speed.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="the other checkout")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--serve", choices=METHODS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        return serve(asked.serve, asked.steps)
    from conditions import conditions

    torch.set_num_threads(1)
    checkouts = {"before": asked.before, "now": SCRIPT.parent.parent}
    before = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=asked.before, capture_output=True, text=True)
    steps = {method: in_turns(checkouts, method, asked.steps) for method in METHODS}
    result = {**conditions(), "before": before.stdout.strip(), "steps": steps, "share_of_forward": share_of_forward()}
    (SCRIPT.parent / "results" / "speed.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
