"""What you lose, what it costs, and what the peers give: ResNet-20 and -56 (CIFAR-10, JPEG copy), 3 epochs or more.

Every arm cuts the same dense network to at most the same MACs and trains it by the same recipe, that of
``transfer.py``, for as many epochs, from the weights that it inherits, where its name does not say otherwise: by labels
(``-ce``), under the dense network (``-kd``) or with inner distillation (``-inner``). Widths: uniform with the filters
of L1; torch-pruning's, six criteria in three scopes, its ratio bisected to the budget; Knapsack pruning's; ours, of the
coarse search, of the whole, or (``inner``) of the groups that torch-pruning can narrow. ``grail``: uniform,
compensated as GRAIL does. ``ours`` and ``coarse`` start as fine-tuning does, halfway between inherited and compensated
weights; ``ours-default`` learns kept channels from a memory bank that it fills. Test images are read once an arm.

    python benchmarks/peers.py CIFAR_FOLDER --work FOLDER [--net resnet20] [--flops 50%] [--arms uniform-kd ...]
        [--seeds 0] [--epochs 3] [--screen] [--draw]

``--screen`` trains nothing: it scores all the widths on the holdout, raw, which says which of torch-pruning's eighteen
are worth training. Each arm runs once and is kept as a line of results/peers.jsonl; the table of what is there goes to
results/peers.json, and accuracy against cost to results/peers.svg. Costs are processor seconds of one thread, with
choosing the widths, the bank and the start, and the same in epochs of the dense network.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch_pruning as tp
from arm_bench import Bench, Job, key
from arm_runs import run
from arm_table import missing, shown, table
from arms import ARMS, Arm, kd, labels_alone
from conditions import conditions
from matplotlib.figure import Figure
from peer_widths import CHOOSERS
from trained import FROZEN, trained
from tuned import figures, finished, keep

from secateur.allocator import keep_freed
from secateur.models.evaluate import evaluate, recalibrate
from secateur.models.module_outputs import block_ends
from secateur.models.subnetwork import Subnetwork
from secateur.models.surgery.slim import slim
from secateur.search.config import SearchConfig
from secateur.transfer.methods import MethodContext
from secateur.transfer.objectives.aligned import AlignedConfig, AlignedTransfer, KeptFeatures
from secateur.transfer.objectives.base import Objective

RESULTS = Path(__file__).parent / "results"
NEAR = 0.6, 0.12  # dense epochs and points of accuracy: names of points closer than that would overlap
INNER = 20.0  # the weight of the mean over blocks, as published: 20 to 30


def inner_distillation(context: MethodContext) -> Objective:
    """Knapsack's: labels, and the dense network's output of every block on the channels that stay."""
    kept = KeptFeatures.of(context.net, context.kept, lambda maps: block_ends(context.net, maps))
    weights = AlignedConfig(label_weight=1.0, teacher_weight=0.0, map_weight=INNER / len(kept.maps))
    return AlignedTransfer(context.dense, kept, weights)


LOSSES = {"ce": labels_alone, "kd": kd}
PEERS: dict[str, Arm] = {
    **{
        f"{widths}-{loss}": Arm(objective, start="inherited", widths=widths)
        for (loss, objective), widths in product(LOSSES.items(), ["uniform", *CHOOSERS])
    },
    **{f"grail-{loss}": Arm(made, start="grail", widths="uniform") for loss, made in LOSSES.items()},
    "knapsack-inner": Arm(inner_distillation, start="inherited", widths="knapsack"),
    **{f"coarse-{loss}": Arm(made, widths="coarse") for loss, made in LOSSES.items()},
    **{f"ours-inner-{loss}": Arm(made, widths="inner") for loss, made in LOSSES.items()},
    **{f"ours-{loss}": Arm(made) for loss, made in LOSSES.items()},
    "ours-default": ARMS["aligned-3-views"],
    "dense-ce": ARMS["dense-ce"],
}


@dataclass(frozen=True, eq=False)
class PeerBench(Bench):
    """A bench that knows the widths of peers, and of the coarse search alone; each is chosen once and kept."""

    def subnetwork(self, widths: str) -> Subnetwork:
        """The channels that stay under a name of ``Arm.widths``."""
        if widths not in ("coarse", "inner", *CHOOSERS):
            return super().subnetwork(widths)
        path = self.folder / f"{widths}.json"
        if not path.exists():
            found: Subnetwork = self._timed(widths, lambda: self._chosen(widths))
            path.write_text(found.to_json())
        return Subnetwork.from_json(path.read_text())

    def _chosen(self, widths: str) -> Subnetwork:
        net = self.session.net
        if widths == "coarse":  # in a folder of its own: what the whole search evaluates again must cost it
            apart = replace(self.session, folder=self.folder / "coarse")
            return apart.search(SearchConfig(net.span(self.budget), 0)).coarse_best.subnetwork
        if widths == "inner":
            return self._inner()
        return CHOOSERS[widths](net, self.data, self.budget)

    def _inner(self) -> Subnetwork:
        """What our search keeps where it narrows no group that torch-pruning leaves whole."""
        net = trained(self.name, self.session.images, self.weights, freeze=FROZEN["inner"])
        apart = replace(self.session, net=net, folder=self.folder / "inner")
        found = apart.search(SearchConfig(net.span(self.budget), self.trials)).winner.subnetwork
        kept = dict(zip((group.name for group in net.groups), found.kept, strict=True))
        groups = self.session.net.groups
        return Subnetwork(tuple(kept.get(group.name, tuple(range(group.width))) for group in groups))


def screened(bench: PeerBench, widths: str) -> dict[str, Any]:
    """What a choice of channels is worth on the holdout, raw: no compensation, no training."""
    net, kept = bench.session.net, bench.subnetwork(widths)
    model = slim(net, kept)
    recalibrate(model, bench.data.train)
    seconds = bench.seconds.get(widths)
    return {"macs": net.macs(kept), "holdout": figures(evaluate(model, bench.data.holdout)), "seconds": seconds}


def draw(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Test accuracy after training against the whole cost, an arm a point."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.margins(0.12)
    named = list[tuple[float, float]]()
    costs = [line["cost"]["dense epochs"] for line in lines]
    for line in lines:
        place = x, y = line["cost"]["dense epochs"], 100 * line["test"]["mean"]
        colour = "#D55E00" if line["arm"].startswith(("ours", "coarse")) else "#0072B2"
        axes.errorbar(*place, 100 * (line["test"]["std"] or 0), fmt="o", color=colour)
        near = any(abs(x - a) < NEAR[0] and abs(y - b) < NEAR[1] for a, b in named)
        left = near or 2 * x > min(costs) + max(costs)
        side: dict[str, Any] = {"xytext": (-6, 4), "ha": "right"} if left else {"xytext": (6, 4)}
        name = f"{line['arm']}, {line['epochs']} epochs"
        axes.annotate(name, place, textcoords="offset points", fontsize=8, **side)
        named.append(place)
    axes.set(xlabel="search, bank and training, in epochs of the dense network", ylabel="test accuracy, %")
    axes.grid(alpha=0.25)
    figure.savefig(path)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--work", type=Path, required=True, help="a folder for searches and banks")
    parser.add_argument("--net", default="resnet20", choices=["resnet20", "resnet56"])
    parser.add_argument("--flops", default="50%")
    parser.add_argument("--arms", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, nargs="+", default=[3])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--images", type=int, default=0, help="of each split; 0: all")
    parser.add_argument("--screen", action="store_true", help="score all widths untrained")
    parser.add_argument("--draw", action="store_true", help="run nothing more")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def screen(bench: PeerBench, path: Path) -> None:
    """Score what is missing in a file of lines."""
    for widths in ("uniform", *CHOOSERS):
        job = json.dumps({"net": bench.name, "budget": bench.budget, "widths": widths})
        if job not in finished(path):
            keep(path, job, screened(bench, widths))
            print(job, finished(path)[job], flush=True)


def main() -> None:
    """Run what is missing; print, write and draw the table."""
    asked = arguments()
    keep_freed()
    torch.set_num_threads(1)
    path = asked.out / "peers.jsonl"
    folder = asked.work / f"{asked.net}-{asked.flops.rstrip('%')}-{asked.images or 'all'}"
    bench = PeerBench(asked.net, asked.cifar, folder, asked.flops, asked.trials, asked.images)
    if asked.screen:
        screen(bench, asked.out / "peers_screen.jsonl")
    order = product(asked.epochs, asked.seeds, asked.arms)
    jobs = [Job(asked.net, asked.flops, arm, epochs, seed) for epochs, seed, arm in order]
    while not (asked.draw or asked.screen) and (job := missing(jobs, path)):
        keep(path, key(job), run(job, bench, PEERS))
    lines = table(finished(path))
    print("\n".join(map(shown, lines)))
    about = {**conditions(tp), "trials": asked.trials, "images": asked.images or "all"}
    (asked.out / "peers.json").write_text(json.dumps({**about, "arms": lines}, indent=1) + "\n")
    draw([line for line in lines if line["net"] == asked.net], path.with_suffix(".svg"))


if __name__ == "__main__":
    main()
