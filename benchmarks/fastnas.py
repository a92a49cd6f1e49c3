"""ModelOpt's FastNAS and our search beside each other: one network, its weights, holdout and budget; no training.

Both score a candidate on the same 1,000 holdout images. FastNAS (nvidia-modelopt) narrows one width at a time, and
bisects the degradation that all may have; it recalibrates batch norm for each score, here on 1,000 training images. Its
widths are multiples of a divisor, 32 by default, under which half of the MACs of a CIFAR ResNet can't be reached.
``fastnas N``: with divisor N, as it comes out. ``its widths, our weights``: the same widths, the channels chosen and
compensated by us. ``ours``: coarse search and trials over all groups; ``ours, inner`` over those that FastNAS can
narrow (it keeps the widths of the residual stages). All end recalibrated on the same training images, and are scored
on all of the holdout. Its own count of MACs leaves batch norm out, as ours does.

    python benchmarks/fastnas.py CIFAR_FOLDER [--net resnet20] [--divisors 8 4] [--trials 200]

It needs ``pip install .[bench]``; see setup.cfg for what nvidia-modelopt itself forgets to require.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from conditions import conditions
from modelopt.torch import prune
from torch import nn
from trained import FROZEN, trained
from tuned import figures

import secateur as sc
from secateur.data.dataset import Data
from secateur.models.compensation.gram import grams
from secateur.models.compensation.sequential import refit_sequentially
from secateur.models.costs.budget_range import BudgetRange
from secateur.models.evaluate import evaluate, recalibrate
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.progress import follow, silent
from secateur.search.coarse_to_fine import search_widths
from secateur.search.config import SAMPLE, SearchConfig
from secateur.search.importance.second_order import eliminations, fisher
from secateur.search.records import Records

RESULTS = Path(__file__).parent / "results"
BUDGET = "50%"
BATCH = 100
DIVIDED = {"nn.Conv2d": "channel_divisor", "nn.Linear": "feature_divisor", "nn.BatchNorm2d": "feature_divisor"}


class Bench:
    """One trained network, and both ways to narrow it."""

    def __init__(self, name: str, data: Data) -> None:
        self.name, self.data, self.net = name, data, trained(name, data)
        self.grams = grams(self.net, data.train)
        gone = eliminations(self.net, self.grams, fisher(self.net, data.holdout))
        self.scores = [each.scores for each in gone]

    def fastnas(self, divisor: int) -> tuple[nn.Module, int]:
        """The network that FastNAS comes to, and how many candidates it scored."""
        scored: list[float] = []

        def worth(model: nn.Module) -> float:
            scored.append(evaluate(model, self.data.holdout, SAMPLE).loss)
            return -scored[-1]

        rules = prune.fastnas.FastNASConfig().model_dump()
        for layer, name in DIVIDED.items():
            rules[layer]["*"][name] = divisor
        batches = [batch.images for batch in self.data.train.batches(BATCH, SAMPLE)]
        model, _ = prune.prune(
            model=copy.deepcopy(self.net.model),
            mode=[("fastnas", rules)],
            constraints={"flops": BUDGET},
            dummy_input=self.data.example,
            config={
                "data_loader": batches,
                "collect_func": lambda images: images,
                "score_func": worth,
                "max_iter_data_loader": len(batches),
            },
        )
        return model, len(scored)

    def ours(self, groups: str, trials: int) -> tuple[Subnetwork, int]:
        """The winner of a search, and how many candidates it scored."""
        net = trained(self.name, self.data, freeze=FROZEN[groups])
        budget = net.budget(str(self.net.budget(BUDGET).macs))
        records = Records(net, self.data.holdout, grams=grams(net, self.data.train))
        config = SearchConfig(BudgetRange(budget, budget), trials)
        with TemporaryDirectory() as folder:
            found = follow(search_widths(records, config, Path(folder)), silent)
        wide = {group.name: tuple(range(group.width)) for group in self.net.groups}
        kept = dict(zip((group.name for group in net.groups), found.winner.subnetwork.kept, strict=True))
        return Subnetwork(tuple({**wide, **kept}.values())), len(records.all)

    def scored(self, model: nn.Module) -> dict[str, Any]:
        """Loss and accuracy on the whole holdout, after recalibration, and MACs."""
        recalibrate(model, self.data.train)
        own = sc.Supernet.of(model.eval(), self.data.example, check=False)
        share = own.macs(own.dense) / self.net.macs(self.net.dense)
        return {**figures(evaluate(model, self.data.holdout)), "macs": round(share, 4)}

    def compensated(self, subnetwork: Subnetwork) -> nn.Module:
        """What fine-tuning would start from."""
        return refit_sequentially(self.net, subnetwork, self.grams, self.data.train)

    def widths(self, model: nn.Module) -> Subnetwork:
        """The strongest channels, as many as a narrowed copy of the network has."""
        shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
        made = [next(member for member in group.members if not member.reads) for group in self.net.groups]
        return top_channels(self.scores, np.array([shapes[member.tensor][member.dim] for member in made]))


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
    """What it makes, and the seconds."""
    start = time.perf_counter()
    return make(), round(time.perf_counter() - start, 1)


def main() -> None:
    """Run, print, and write benchmarks/results/fastnas.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--net", default="resnet20")
    parser.add_argument("--divisors", type=int, nargs="+", default=[8, 4])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    bench = Bench(asked.net, sc.open_data(f"imagefolder:{asked.cifar}"))
    rows: dict[str, dict[str, Any]] = {"dense": bench.scored(copy.deepcopy(bench.net.model))}
    for divisor in asked.divisors:
        (model, scored), seconds = timed(lambda divisor=divisor: bench.fastnas(divisor))  # type: ignore[misc]
        name, known = f"fastnas {divisor}", bench.widths(model)
        rows[name] = {**bench.scored(model), "candidates": scored, "seconds": seconds}
        rows[f"{name}: its widths, our weights"] = bench.scored(bench.compensated(known))
        print(name, rows[name], rows[f"{name}: its widths, our weights"], flush=True)
    for groups in ("inner", "all"):
        (kept, scored), seconds = timed(lambda groups=groups: bench.ours(groups, asked.trials))  # type: ignore[misc]
        name = "ours" if groups == "all" else f"ours, {groups}"
        rows[name] = {**bench.scored(bench.compensated(kept)), "candidates": scored, "seconds": seconds}
        print(name, rows[name], flush=True)
    about = {"net": asked.net, "budget": BUDGET, "scored_on": SAMPLE, "modelopt": version("nvidia-modelopt")}
    (asked.out / "fastnas.json").write_text(json.dumps({**conditions(), **about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
