"""A metric of torchmetrics as one whose tallies add up."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from ...errors import SecateurError
from .metric import Metric, first_of

SUMMED = ("dim_zero_sum", "sum")  # what adds up over batches, as torchmetrics calls it


def is_stateful(metric: object) -> TypeGuard[nn.Module]:
    """Whether it is a metric of torchmetrics, or one like them, with ``update`` and ``compute``."""
    return isinstance(metric, nn.Module) and all(hasattr(metric, name) for name in ("update", "compute", "_reductions"))


def summed(stateful: nn.Module) -> Metric:
    """The metric, its tally what one batch adds to its states: the first row holds it, the others are zeros.

    It is called with the network's output, the first tensor of several, and the targets. Raises SecateurError for a
    metric that keeps all outputs, whose states do not add up.
    """
    metric: Any = stateful
    kept = [name for name, how in metric._reductions.items() if getattr(how, "__name__", "") not in SUMMED]
    if kept or not metric._defaults:
        name = type(metric).__name__
        fix = "pass one whose states are sums, such as AUROC with thresholds=100, or a function"
        raise SecateurError(f"{name} keeps outputs ({', '.join(kept) or 'no states'}), which do not add up; {fix}")

    def tally(output: Any, target: Any) -> Tensor:
        found = first_of(output)
        with torch.no_grad():
            metric.to(found.device).reset()
            metric.update(found, target)
        row = torch.cat([state.double().flatten() for state in _states(metric).values()])
        return torch.cat([row[None], row.new_zeros(len(found) - 1, len(row))])

    def value(total: Tensor, n: int) -> float:
        del n
        metric.reset()
        parts = torch.split(total, [state.numel() for state in _states(metric).values()])
        for (name, state), part in zip(_states(metric).items(), parts, strict=True):
            setattr(metric, name, part.reshape(state.shape).to(state))
        metric._update_count = 1  # else it warns that nothing was seen
        found = metric.compute()
        if not isinstance(found, Tensor) or found.numel() != 1:
            raise SecateurError(
                f"{type(metric).__name__} computes more than one number; pass average='macro' or 'micro'"
            )
        return float(found)

    better = metric.higher_is_better
    return Metric(type(metric).__name__, tally, value, higher_is_better=True if better is None else bool(better))


def _states(metric: Any) -> Mapping[str, Tensor]:
    return {name: getattr(metric, name) for name in metric._defaults}
