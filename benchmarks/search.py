"""The fine search at equal evaluations: CIFAR-10 (JPEG copy), 50% of MACs, all groups, no training.

Arms, each a number of evaluations as the default arm (coarse proposals and trials) takes on the same seed:
``tpe``, the default, from the coarse pool; ``cold`` TPE and ``random`` widths, both from uniform widths alone, moving
all groups and with no window around the best; ``greedy``, cut at 200 evaluations; ``uniform`` widths, one evaluation;
``raw``, the default on subnetworks that are not compensated, its winner compensated afterwards; ``whole``, the default
without early stops, which also tells what they would have saved and cost; ``wished``, the default with a sampler that
learns the widths it wished for, and not those that were fitted to the budget and evaluated; ``gp``, the default with a
Gaussian process.
Filters go in the order of second-order elimination (greedy: Taylor's). A subnetwork is scored by its loss on 1,000
holdout images, with batch statistics, in bfloat16 where the processor computes in it; what beats the best so far there
is scored on all 5,000 before it is the best; the five best of an arm on the sample are, too, and the best on all is
the arm's.
``share``: seconds of the default arm, Grams and importance included, beside 40 epochs of fine-tuning its
winner with cross-entropy (one measured epoch x 40), in this process.

    python benchmarks/search.py CIFAR_FOLDER [--nets resnet20 resnet56] [--arms tpe cold ...] [--seeds 0 1 2]
        [--trials 200]

An arm that results/search.jsonl holds is not run again; results/search.json and search.png are made of all there are.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import matplotlib as mpl
import numpy as np
from conditions import conditions
from optuna.samplers import BaseSampler, TPESampler
from scipy.stats import spearmanr
from trained import trained

import secateur as sc
from secateur.allocator import keep_freed
from secateur.data.dataset import Data
from secateur.models.compensation.gram import Gram, grams
from secateur.models.costs.budget_range import BudgetRange
from secateur.models.costs.widths import fills_budget, fit_to_budget
from secateur.models.precision import in_bfloat16
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.surgery.slim import slim
from secateur.models.tracing.atoms import IntArray
from secateur.progress import follow, silent
from secateur.search.allocation import uniform
from secateur.search.coarse_to_fine import FINALISTS, search_widths
from secateur.search.config import SAMPLE, SearchConfig
from secateur.search.early_stopping import LOOK, extrapolated_loss, significantly_worse
from secateur.search.greedy import greedy
from secateur.search.importance.scores import Scores
from secateur.search.importance.second_order import eliminations, fisher
from secateur.search.importance.taylor import taylor
from secateur.search.records import Interim, Records
from secateur.search.refine import fine_search as fine
from secateur.search.refine.fine_search import refine
from secateur.search.samplers.samplers import SAMPLERS, Sampler
from secateur.transfer.objectives.base import CrossEntropy
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

RESULTS = Path(__file__).parent / "results"
ARMS = ("tpe", "cold", "random", "uniform", "greedy", "raw", "whole", "wished", "gp")
GREEDY, EPOCHS = 200, 40


class Timed(Records):
    """Notes the seconds at which each evaluation on the sample ended."""

    start = 0.0

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.bfloat16 = in_bfloat16("auto", self.net)
        self.log: list[tuple[float, Interim]] = []

    def evaluate(self, subnetwork: Subnetwork, source: str, images: int, rival: Interim | None = None) -> Interim:
        """As ``Records`` does."""
        known = len(self.all)
        interim = super().evaluate(subnetwork, source, images, rival)
        if len(self.all) > known and images == SAMPLE:
            self.log.append((time.perf_counter() - self.start, interim))
        return interim


class Whole(Timed):
    """Stops nothing, and notes who would have been the rival of whom."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.pairs: list[tuple[Interim, Interim]] = []

    def evaluate(self, subnetwork: Subnetwork, source: str, images: int, rival: Interim | None = None) -> Interim:
        """Without a rival."""
        interim = super().evaluate(subnetwork, source, images)
        self.pairs += [(interim, rival)] if rival else []
        return interim

    def stops(self) -> dict[str, Any]:
        """What early stops would have saved, and how well the losses that they expect rank the trials."""
        seen, likely = [], []
        for interim, rival in self.pairs:
            looks = range(LOOK, interim.n, LOOK)
            seen.append(
                next((n for n in looks if significantly_worse(interim.image_losses[:n], rival.image_losses)), interim.n)
            )
            stopped = seen[-1] < interim.n
            likely.append(
                extrapolated_loss(interim.image_losses[: seen[-1]], rival.image_losses) if stopped else interim.loss
            )
        true = [interim.loss for interim, _ in self.pairs]
        early = [(pair, n) for pair, n in zip(self.pairs, seen, strict=True) if n < pair[0].n]
        return {
            "trials": len(self.pairs),
            "stopped": len(early),
            "stopped_though_better": sum(interim.loss < rival.loss for (interim, rival), _ in early),
            "images_saved": round(1 - sum(seen) / sum(interim.n for interim, _ in self.pairs), 3),
            "spearman": round(float(spearmanr(likely, true).statistic), 4),
        }


def cold(seed: int) -> BaseSampler:
    """TPE as Optuna has it, with ten random trials first."""
    return TPESampler(seed=seed, multivariate=True)


class Bench:
    """One network at 50% of MACs."""

    def __init__(self, name: str, data: Data) -> None:
        self.net = trained(name, data)
        self.data = data.in_memory_format_of(self.net.model)
        limit = self.net.budget("50%")
        self.span = BudgetRange(limit, limit)

    def known(self) -> tuple[dict[str, Gram], Scores]:
        """Grams and the order of elimination."""
        known = grams(self.net, self.data.train)
        return known, [each.scores for each in eliminations(self.net, known, fisher(self.net, self.data.holdout))]

    def searched(self, kind: type[Timed], seed: int, trials: int, compensate: bool = True, word: str = "tpe") -> Timed:
        """The product's search."""
        start = time.perf_counter()
        records = kind(self.net, self.data.holdout, grams=grams(self.net, self.data.train) if compensate else None)
        records.start = start
        config = SearchConfig(self.span, trials, sampler=SAMPLERS[word], seed=seed)
        with TemporaryDirectory() as folder:
            follow(search_widths(records, config, Path(folder)), silent)
        return records

    def sampled(self, sampler: Sampler, seed: int, evaluations: int) -> Timed:
        """A sampler that begins at uniform widths and may go anywhere."""
        start = time.perf_counter()
        known, scores = self.known()
        records = Timed(self.net, self.data.holdout, grams=known)
        records.start = start
        starts = [uniform(self.net.space, self.span.low, scores)]
        config = SearchConfig(self.span, evaluations - 1, sampler=sampler, seed=seed)
        with patch.object(fine, "WINDOW", 1.0), patch.object(fine, "MOVED", len(self.net.groups)):
            list(refine(records, scores, starts, config))
        return records

    def wished(self, seed: int, trials: int) -> Timed:
        """The product's search, its sampler taught what it wished for."""

        def evaluated(scores: Scores, wish: IntArray) -> Subnetwork:
            return top_channels(scores, fit_to_budget(self.net.space, self.span.low, wish))

        as_it_is = patch.object(fine, "fit_to_budget", lambda space, budget, wish: np.asarray(wish, np.int64))
        with as_it_is, patch.object(fine, "top_channels", evaluated):
            return self.searched(Timed, seed, trials)

    def greedy(self) -> Timed:
        """The greedy loop."""
        start = time.perf_counter()
        records = Timed(self.net, self.data.holdout, grams=grams(self.net, self.data.train))
        records.start = start
        for _ in greedy(records, taylor, self.span.low, images=SAMPLE, evaluations=GREEDY):
            pass
        return records

    def result(self, records: Timed) -> dict[str, Any]:
        """An arm's curve and winner; the winner is always scored compensated."""
        at = [(when, i) for when, i in records.log if i.n == SAMPLE and self.met(i)]
        best = sorted((i for _, i in at), key=lambda i: i.sort_loss)[:FINALISTS]
        whole = [i for i in records.all if i.n == len(self.data.holdout)]
        best += sorted((i for i in whole if self.met(i)), key=lambda i: i.sort_loss)[:FINALISTS]
        judge = Timed(self.net, self.data.holdout, grams=records.grams or grams(self.net, self.data.train))
        again = [judge.evaluate(i.subnetwork, i.source, len(self.data.holdout)) for i in best]
        winner = min(again, key=lambda i: i.sort_loss)
        numbers = [i.subnetwork for _, i in records.log]
        starts = [i for _, i in at if i.source != "refine"]
        start = min(starts, key=lambda i: i.sort_loss)
        return {
            "evaluations": len(records.log),
            "stopped": sum(i.n < SAMPLE for _, i in records.log),
            "images": sum(i.n for i in records.all),
            "whole": len(whole),
            "seconds": round(records.log[-1][0], 1),
            "winner": winner.to_dict(),
            "winner_number": numbers.index(winner.subnetwork),
            "start": judge.evaluate(start.subnetwork, start.source, len(self.data.holdout)).to_dict(),
            "widths": winner.subnetwork.widths.tolist(),
            "curve": [[round(when, 1), i.loss if i.n == SAMPLE and self.met(i) else None] for when, i in records.log],
            "kept": winner.subnetwork.to_json(),
            **({"stops": records.stops()} if isinstance(records, Whole) else {}),
        }

    def met(self, interim: Interim) -> bool:
        """Whether it is a subnetwork at the budget, and not on the way there."""
        return fills_budget(self.net.space, self.span.low, interim.subnetwork.widths)

    def epoch(self, kept: str) -> float:
        """Seconds of one epoch of fine-tuning."""
        model, recipe = slim(self.net, Subnetwork.from_json(kept)), Recipe(1, bfloat16=in_bfloat16("auto", self.net))
        *_, last = train(model, self.data.train, CrossEntropy(), recipe, head=self.net.head)
        return last.seconds

    def arm(self, name: str, seed: int, trials: int, evaluations: int) -> dict[str, Any]:
        """One arm; ``evaluations`` are those of the default."""
        ways: dict[str, Callable[[], Timed]] = {
            "tpe": lambda: self.searched(Timed, seed, trials),
            "gp": lambda: self.searched(Timed, seed, trials, word="gp"),
            "raw": lambda: self.searched(Timed, seed, trials, compensate=False),
            "whole": lambda: self.searched(Whole, seed, trials),
            "cold": lambda: self.sampled(cold, seed, evaluations),
            "random": lambda: self.sampled(SAMPLERS["random"], seed, evaluations),
            "uniform": lambda: self.sampled(SAMPLERS["random"], seed, 1),
            "greedy": self.greedy,
            "wished": lambda: self.wished(seed, trials),
        }
        return self.result(ways[name]())


def table(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Winners' holdout loss by network and arm: mean, spread, each seed."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        arm = found.setdefault(row["net"], {}).setdefault(row["arm"], {"loss": {}, "seconds": {}, "accuracy": {}})
        for name, value in (("loss", row["winner"]["loss"]), ("accuracy", row["winner"]["accuracy"])):
            arm[name][row["seed"]] = round(value, 4)
        arm["seconds"][row["seed"]] = row["seconds"]
    for arms in found.values():
        for arm in arms.values():
            losses = list(arm["loss"].values())
            arm["mean"], arm["sd"] = round(mean(losses), 4), round(stdev(losses), 4) if losses[1:] else None
    return found


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Best loss so far against evaluations and against seconds, a line each arm and seed."""
    mpl.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    nets = sorted({row["net"] for row in rows})
    colours = {arm: f"C{n}" for n, arm in enumerate(ARMS)}
    figure, axes = plt.subplots(len(nets), 2, figsize=(11, 4 * len(nets)), squeeze=False, sharey="row")
    for row in rows:
        if row["arm"] == "raw" or "whole" not in row:  # other losses; kept from before, when the search was another
            continue
        seconds = [when for when, _ in row["curve"]]
        best = np.fmin.accumulate([np.nan if loss is None else loss for _, loss in row["curve"]])
        for axis, x in zip(axes[nets.index(row["net"])], (np.arange(1, len(best) + 1), seconds), strict=True):
            label = row["arm"] if row["seed"] == 0 else None
            marker = "o" if np.isfinite(best).sum() == 1 else ""
            axis.plot(x, best, color=colours[row["arm"]], label=label, marker=marker, lw=1.2, alpha=0.85)
    for net, (left, right) in zip(nets, axes, strict=True):
        left.set(title=f"{net}, 50% of MACs", xlabel="evaluations", ylabel="best loss so far (1,000 holdout images)")
        right.set(title=f"{net}, by time", xlabel="seconds", xscale="log")
        right.xaxis.set_minor_formatter(NullFormatter())
        left.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def main() -> None:
    """Run what is missing, print, and write the figures and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", help="the image folder that unpack.py laid out")
    parser.add_argument("--nets", nargs="+", default=["resnet20", "resnet56"])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    keep_freed()
    data, path = sc.open_data(f"imagefolder:{asked.cifar}"), asked.out / "search.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["net"], row["arm"], row["seed"]): row for row in rows}
    for net in asked.nets:
        bench = Bench(net, data)
        for seed, arm in ((seed, arm) for seed in asked.seeds for arm in asked.arms if (net, arm, seed) not in done):
            evaluations = done[net, "tpe", seed]["evaluations"] if arm != "tpe" else 0
            row = {"net": net, "arm": arm, "seed": seed, **bench.arm(arm, seed, asked.trials, evaluations)}
            if (arm, seed) == ("tpe", 0):
                row["share"] = round(row["seconds"] / (EPOCHS * bench.epoch(row["kept"])), 3)
            done[net, arm, seed] = {**row, **conditions()}
            with path.open("a") as file:
                file.write(json.dumps(done[net, arm, seed]) + "\n")
            print({name: value for name, value in row.items() if name not in ("curve", "kept", "widths")}, flush=True)
    found = table(done.values())
    print(json.dumps(found, indent=1))
    (asked.out / "search.json").write_text(json.dumps({**conditions(), "holdout_loss": found}, indent=1) + "\n")
    picture(list(done.values()), asked.out / "search.png")


if __name__ == "__main__":
    main()
