"""Which channels the peers keep: torch-pruning, with any of its criteria and scopes, and Knapsack pruning.

torch-pruning cannot follow shortcuts that pad with zeros (option A): pruned there, the network no longer runs. So it
leaves the residual stages of these networks whole, and its ratio is bisected until the MACs meet the budget. Knapsack
pruning is written from its description, https://arxiv.org/abs/2002.10553.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import torch
import torch_pruning as tp
from torch import nn
from torch.nn.functional import cross_entropy

import secateur as sc
from secateur.data.dataset import Data
from secateur.models.costs.budget import Budget
from secateur.models.costs.widths import Space, fill
from secateur.models.subnetwork import Subnetwork, top_channels
from secateur.models.tracing.atoms import FloatArray, IntArray
from secateur.search.allocation import threshold
from secateur.search.importance.taylor import taylor

Chooser: TypeAlias = Callable[[sc.Supernet, Data, str], Subnetwork]  # of a network, data and budget

CRITERIA: dict[str, Callable[[], Any]] = {
    "l1": partial(tp.importance.GroupMagnitudeImportance, p=1),
    "l2": partial(tp.importance.GroupMagnitudeImportance, p=2),
    "fpgm": tp.importance.FPGMImportance,
    "bn": tp.importance.BNScaleImportance,
    "taylor": tp.importance.GroupTaylorImportance,
    "lamp": tp.importance.LAMPImportance,
}
SCOPES: dict[str, Mapping[str, bool]] = {
    "local": {"global_pruning": False},
    "global": {"global_pruning": True},
    "isomorphic": {"global_pruning": True, "isomorphic": True},
}
IMAGES, BATCH = 2000, 250  # of the holdout, for gradients: as many as our Taylor scores read
HALVINGS, MOST = 12, 0.95  # of the range of ratios, and its end


def torch_pruning(net: sc.Supernet, data: Data, budget: str, *, criterion: str, scope: str) -> Subnetwork:
    """What torch-pruning keeps at the lowest ratio that meets the budget, filled up from the next one."""
    model = copy.deepcopy(net.model)
    for batch in data.holdout.batches(BATCH, IMAGES):
        torch.autograd.backward(cross_entropy(model(batch.images), batch.labels))
    limit, low, high = net.budget(budget), 0.0, MOST
    for _ in range(HALVINGS):
        ratio = (low + high) / 2
        meets = net.macs(kept_at(net, model, ratio, criterion, scope)) <= limit.macs
        low, high = (low, ratio) if meets else (ratio, high)
    return filled(net, limit, *(kept_at(net, model, ratio, criterion, scope) for ratio in (high, low)))


def filled(net: sc.Supernet, budget: Budget, kept: Subnetwork, more: Subnetwork) -> Subnetwork:
    """``kept`` with as many channels of ``more``, which is too wide, as the budget has room for: ratios jump."""
    widths = fill(net.space, budget, np.array(kept.widths), np.array(more.widths, np.float64))
    nexts = [sorted({*wide} - {*narrow}) for narrow, wide in zip(kept.kept, more.kept, strict=True)]
    pairs = zip(kept.kept, nexts, widths, strict=True)
    return Subnetwork(tuple(tuple(sorted([*old, *new[: width - len(old)]])) for old, new, width in pairs))


def kept_at(net: sc.Supernet, model: nn.Module, ratio: float, criterion: str, scope: str) -> Subnetwork:
    """The channels that torch-pruning keeps at a ratio; ``model``, with gradients, is not changed."""
    example = next(iter(model.parameters())).new_zeros(1, 3, 32, 32)
    pruner = tp.pruner.BasePruner(
        model,
        example,
        importance=CRITERIA[criterion](),
        pruning_ratio=ratio,
        ignored_layers=whole(model),
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
        **SCOPES[scope],
    )
    names = {module: name for name, module in model.named_modules()}
    removed = {names[group[0][0].target.module]: group[0][1] for group in pruner.step(interactive=True)}
    kept = (np.setdiff1d(np.arange(group.width), removed.get(group.name, [])) for group in net.groups)
    return Subnetwork(tuple(tuple(map(int, channels)) for channels in kept))


def whole(model: nn.Module) -> list[nn.Module]:
    """Layers of a CIFAR ResNet whose outputs torch-pruning has to leave whole: the stem, sums and classes."""
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or name == "conv1" or name.endswith(".conv2")
    ]


def knapsack(net: sc.Supernet, data: Data, budget: str) -> Subnetwork:
    """The channels of most Taylor importance for their MACs: the knapsack's relaxation, filled in that order."""
    scores = taylor(net, data.holdout)
    return top_channels(scores, knapsack_widths(net.space, net.budget(budget), scores))


def knapsack_widths(space: Space, budget: Budget, scores: Sequence[FloatArray]) -> IntArray:
    """One threshold on the worth of a channel for the MACs that it costs in the dense network."""
    narrower = space.dense - np.eye(len(space.dense), dtype=np.int64)
    prices = space.costs.macs(space.dense) - space.costs.macs(narrower)
    rates = [score / price for score, price in zip(scores, prices, strict=True)]
    return threshold(space, budget, rates, normalise=lambda given: list(given))


CHOOSERS: dict[str, Chooser] = {
    "knapsack": knapsack,
    **{
        f"tp-{criterion}-{scope}": partial(torch_pruning, criterion=criterion, scope=scope)
        for criterion, scope in product(CRITERIA, SCOPES)
    },
}
