"""One process of several that work on a study: evaluate, slowly, what others may take up.

    python working.py URL TRIALS SECONDS [HOST]

Prints a line for each trial that it begins, and one that it ends; HOST in place of this machine's name.
"""

import sys
import time

import torch
from chains import plain

from secateur.data.images import Images
from secateur.models.costs.budget_range import BudgetRange
from secateur.models.subnetwork import Subnetwork
from secateur.search.allocation import threshold, uniform
from secateur.search.config import SearchConfig
from secateur.search.importance.magnitude import l1
from secateur.search.records import Interim, Records
from secateur.search.refine import retries
from secateur.search.refine.fine_search import refine

NET = plain((12, 16, 10, 14))
IMAGES = 16


class Slow(Records):
    """Random images; an evaluation of a trial takes ``seconds``."""

    seconds = 0.0

    def __init__(self) -> None:
        pixels = torch.randint(256, (IMAGES, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        super().__init__(NET, Images(lambda chunks: (pixels[c] for c in chunks), torch.arange(IMAGES) % 4, (3, 8, 8)))

    def evaluate(self, subnetwork: Subnetwork, source: str, images: int, rival: Interim | None = None) -> Interim:
        if source == "refine" and not any((i.subnetwork, i.n) == (subnetwork, images) for i in self.all):
            print("begins", *subnetwork.widths, flush=True)
            time.sleep(self.seconds)
        return super().evaluate(subnetwork, source, images, rival)


def work(url: str, trials: int, seconds: float) -> Records:
    """Trials of this process until all are done; what it then knows."""
    records, budget = Slow(), NET.budget("50%")
    records.seconds = seconds
    scores = l1(NET, records.split)
    starts = [rule(NET.space, budget, scores) for rule in (uniform, threshold)]
    config = SearchConfig(BudgetRange(budget, budget), trials, images=IMAGES, storage=url)
    for interim in refine(records, scores, starts, config):
        print("ends", *interim.subnetwork.widths, flush=True)
    return records


if __name__ == "__main__":
    retries.HEARTBEAT, retries.GRACE = 1, 3
    if sys.argv[4:]:
        retries.HOST = sys.argv[4]
    work(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
