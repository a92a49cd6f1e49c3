"""What the first command of the README ends with: ``secateur run``, a ResNet-20 that is trained on digits and pruned.

    python benchmarks/quickstart.py [--out FOLDER] [--picture FILE.svg]

Costs and scores of the dense, the pruned and the fine-tuned network, as ``run`` prints them, what each stage came to,
and the seconds of it all: by the clock, and of the processor, which other programs beside it do not lengthen. With
``--picture`` two more points of the front are fine-tuned, and the README's picture is drawn.
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
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secateur.rundir.results import Results

RESULTS = Path(__file__).parent / "results"
MORE = ("30%", "60%")  # of the MACs: points that are fine-tuned for the picture
BLUE = "#0072b2"


def main() -> None:
    """Run, and write results/quickstart.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, help="where to draw test accuracy over MACs, and the widths")
    asked, start = parser.parse_args(), time.perf_counter()
    with TemporaryDirectory() as folder:
        secateur("run", "--out", folder)
        found = Results.of(folder)
        arms = {arm.name: msgspec.to_builtins(arm.figures) for arm in found.arms}
        stages = {name: outcome.to_dict() for name, outcome in found.stages.done().items() if name != "test"}
        seconds, used = time.perf_counter() - start, getrusage(RUSAGE_CHILDREN)
        if asked.picture:
            for budget in MORE:
                secateur("transfer", folder, "--flops", budget)
            picture(Results.of(folder)).savefig(asked.picture, metadata={"Date": None})
    spent = {"seconds": round(seconds, 1), "processor seconds": round(used.ru_utime + used.ru_stime, 1)}
    result = {**conditions(), **spent, "asked": found.config.goal, "arms": arms, "stages": stages}
    (asked.out / "quickstart.json").write_text(json.dumps(result, indent=1) + "\n")


def secateur(*words: str) -> None:
    """One command, whose mistakes end this."""
    subprocess.run([sys.executable, "-m", "secateur", *words], check=True)


def picture(run: Results) -> Figure:
    """Test accuracy over MACs, and the widths of the smallest network before those of the dense one."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    front, bars = figure.subplots(1, 2, width_ratios=(1, 1.5))
    _draw_scores(front, run)
    groups = run.front.winner.groups
    for name, colour, label in (
        ("dense", "#cccccc", "dense"),
        ("width", BLUE, f"kept at {run.config.goal} of the MACs"),
    ):
        bars.bar(range(len(groups)), [getattr(group, name) for group in groups.values()], color=colour, label=label)
    bars.set_xticks(range(len(groups)), list(groups), rotation=90, fontsize=7)
    bars.set(ylabel="channels")
    bars.legend(frameon=False)
    for axes in (front, bars):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_scores(axes: Axes, run: Results) -> None:
    arms = {arm.name: (arm.figures.macs / 1e6, arm.figures.test.value) for arm in run.arms if arm.figures.test}
    tuned = sorted(at for name, at in arms.items() if name not in ("dense", "pruned"))
    axes.plot(*zip(*tuned, strict=True), "o-", color=BLUE, label="pruned and fine-tuned")
    axes.plot(*arms["pruned"], "o", mfc="none", color=BLUE, label="only pruned")
    axes.plot(*arms["dense"], "s", color="#222222", label="dense")
    axes.set(xlabel="MACs of one image, millions", ylabel="test accuracy", xlim=(0, None))
    axes.yaxis.set_major_formatter("{x:.1%}")
    axes.legend(frameon=False, loc="lower right")


if __name__ == "__main__":
    main()
