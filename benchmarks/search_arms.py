"""The arms of search.py: the product's search, parts of it left out, and other ways to choose widths."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from optuna.samplers import BaseSampler, TPESampler
from search_records import Timed, Whole
from trained import trained

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
from secateur.search.greedy import greedy
from secateur.search.importance.scores import Scores
from secateur.search.importance.second_order import eliminations, fisher
from secateur.search.importance.taylor import taylor
from secateur.search.records import Interim
from secateur.search.refine import fine_search as fine
from secateur.search.refine.fine_search import refine
from secateur.search.samplers.samplers import SAMPLERS, Sampler
from secateur.transfer.objectives.base import CrossEntropy
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

ARMS = ("tpe", "cold", "random", "uniform", "greedy", "raw", "whole", "wished", "gp")
GREEDY = 200  # evaluations


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
