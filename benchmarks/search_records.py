"""Records of the searches that search.py compares, with the second at which each evaluation ended."""

import time
from typing import Any

from scipy.stats import spearmanr

from secateur.models.precision import in_bfloat16
from secateur.models.subnetwork import Subnetwork
from secateur.search.config import SAMPLE
from secateur.search.early_stopping import LOOK, extrapolated_loss, significantly_worse
from secateur.search.records import Interim, Records


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
