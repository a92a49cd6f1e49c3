"""The evidence of the coarse search: channel scores, and error curves over the widths of each group."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ..models.tracing.atoms import FloatArray
from .importance.magnitude import l1
from .importance.scores import Importance, Scores
from .importance.second_order import eliminations, fisher
from .importance.taylor import taylor
from .records import Records

Curves: TypeAlias = Sequence[FloatArray]  # of each group the error at each width, (width + 1,)
CurveSource: TypeAlias = Callable[[Records], Curves]


@dataclass(frozen=True, eq=False)
class Evidence:
    """``scores`` rank the channels of each group; ``curves`` say what its widths cost in loss. Both by name."""

    scores: Mapping[str, Scores]
    curves: Mapping[str, Curves] = field(default_factory=dict)


def default_evidence(records: Records) -> Evidence:
    """Second-order scores and their error curves, and L1; without Grams Taylor scores and L1, and no curves.

    Where readers are compensated, the order of L1 mostly starts better than Taylor's and reads no image:
    benchmarks/coarse.py compares them.
    """
    net, holdout = records.net, records.split
    if not records.grams:
        return Evidence({"taylor": taylor(net, holdout), "l1": l1(net, holdout)})
    gone = eliminations(net, records.grams, fisher(net, holdout))
    scores = {"obs": [each.scores for each in gone], "l1": l1(net, holdout)}
    return Evidence(scores, {"obs": [each.curve for each in gone]})


def gather_evidence(
    records: Records, scores: Mapping[str, Importance] | None, curves: Mapping[str, CurveSource]
) -> Evidence:
    """The evidence of these scores, or the default where there are none; the error curves come on top."""
    if scores is None:
        found = default_evidence(records)
    else:
        found = Evidence({name: importance(records.net, records.split) for name, importance in scores.items()})
    return replace(found, curves={**found.curves, **{name: source(records) for name, source in curves.items()}})
