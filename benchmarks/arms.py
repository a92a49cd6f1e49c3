"""The arms of transfer.py: ways to spend the same epochs on a pruned network, or on its dense network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from links import Link, taught_by_all, taught_by_dense, taught_by_last
from torch import Tensor

from secateur.models.module_outputs import FeatureMap, block_ends, stage_ends
from secateur.transfer.losses import kd_loss
from secateur.transfer.methods import METHODS, MethodContext
from secateur.transfer.objectives.aligned import AlignedConfig, AlignedTransfer, KeptFeatures
from secateur.transfer.objectives.base import CrossEntropy, Distillation, Objective, online_teacher
from secateur.transfer.objectives.contrastive import ContrastiveConfig, ContrastiveTransfer

VIEWS = 3  # fixed ones of each image in a bank that is filled before


@dataclass(frozen=True)
class Arm:
    """How a network is trained.

    ``teachers``: of a bank that is filled before; 0: none. ``views``: of a bank that fills itself. ``start``:
    "inherited", "half", "compensated" or "grail" weights, or "ridge": half, and the last layer refitted.
    ``widths``: "searched" or "uniform" ones, or "dense": the dense network itself. ``recipe``: changes of the recipe.
    """

    objective: Callable[[MethodContext], Objective]
    teachers: int = 0
    views: int = 0
    start: str = "half"
    widths: str = "searched"
    recipe: Mapping[str, Any] = field(default_factory=dict)


def aligned(context: MethodContext, blocks: bool = False, **weights: float) -> Objective:
    """The dense network's features on the channels that stay, at the ends of stages or of all blocks."""

    def blocks_of(maps: Mapping[str, FeatureMap]) -> list[FeatureMap]:
        return block_ends(context.net, maps)

    kept = KeptFeatures.of(context.net, context.kept, blocks_of if blocks else stage_ends)
    return AlignedTransfer(context.dense, kept, AlignedConfig(**weights), context.filled)


def standardised_kd(teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
    """LSKD: KL at temperature 2 of logits less their mean, over their deviation, each row by itself, times 9/0.9.

    Sun et al. 2024, https://arxiv.org/abs/2403.01427, with the weight of its code. Shape: (..., C) → (...,)
    """
    p, q = ((z - z.mean(-1, keepdim=True)) / (z.std(-1, keepdim=True) + 1e-7) for z in (teacher, student))
    return 10 * kd_loss(p, q, labels, temperature=2.0)


def dist(teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
    """DIST: 1 − Pearson's correlation of probabilities, along classes and along the batch, weights 2 and 2 over 0.9.

    Huang et al. 2022, https://arxiv.org/abs/2205.10536. Shape: (V, B, C) → (V, B); the second term is one number
    """
    p, q = teacher.softmax(-1), student.softmax(-1)
    return 2 * (_uncorrelated(p, q) + _uncorrelated(p.mT, q.mT).mean(-1, keepdim=True)) / 0.9


def _uncorrelated(p: Tensor, q: Tensor) -> Tensor:
    p, q = p - p.mean(-1, keepdim=True), q - q.mean(-1, keepdim=True)
    return 1 - torch.cosine_similarity(p, q, dim=-1, eps=1e-8)


def distilled(context: MethodContext, loss: Any, label_weight: float) -> Objective:
    """The online dense teacher, compared by another loss."""
    return Distillation(online_teacher(context.net.model), loss, label_weight=label_weight)


def cooled(teacher: Tensor, student: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """KD from logits over ``temperature``: that at which the teacher is as sure as it is right (worth.py)."""
    return kd_loss(teacher / temperature, student, labels)


def published(context: MethodContext) -> Objective:
    """CKT with EKG's weights and views."""
    config = ContrastiveConfig(label_weight=1.0, teacher_weight=1.0, contrast_weight=0.5, power=1, views=2)
    return ContrastiveTransfer(context.bank, context.labels, context.width, config, seed=context.seed)


def labels_alone(context: MethodContext) -> Objective:
    """Cross-entropy."""
    return CrossEntropy()


kd = METHODS["kd"].objective
CHAINS: dict[str, Link] = {
    "chain": taught_by_last,
    "chain-all": taught_by_all,
    "chain-dense": taught_by_dense,
}
ARMS: dict[str, Arm] = {
    "ce": Arm(labels_alone),
    "kd": Arm(kd),
    "kdft": Arm(METHODS["kdft"].objective, views=3),
    "kdft-1-view": Arm(METHODS["kdft"].objective, views=1),
    "aligned-pooled": Arm(partial(aligned, embedding_weight=1.0, map_weight=0.0)),
    "aligned-maps-1": Arm(partial(aligned, map_weight=1.0)),
    "aligned-maps-5": Arm(partial(aligned, map_weight=5.0)),
    "aligned-maps-20": Arm(partial(aligned, map_weight=20.0)),
    "aligned-both": Arm(partial(aligned, embedding_weight=1.0, map_weight=5.0)),
    "aligned-1-view": Arm(partial(aligned, map_weight=5.0), views=1),
    "aligned-2-views": Arm(partial(aligned, map_weight=5.0), views=2),
    "aligned-3-views": Arm(partial(aligned, map_weight=5.0), views=3),
    "aligned-blocks": Arm(partial(aligned, blocks=True, map_weight=5 / 3)),
    "ckt": Arm(METHODS["ckt"].objective, teachers=5),
    "ckt-published": Arm(published, teachers=5),
    "lskd": Arm(partial(distilled, loss=standardised_kd, label_weight=0.1)),
    "dist": Arm(partial(distilled, loss=dist, label_weight=1.0)),
    "kd-cooled-1.6": Arm(partial(distilled, loss=partial(cooled, temperature=1.6), label_weight=0.1)),
    "kd-temperature-1.6": Arm(partial(distilled, loss=partial(kd_loss, temperature=1.6), label_weight=0.1)),
    "kd-ema": Arm(kd, recipe={"ema_decay": 0.999}),
    "kd-inherited": Arm(kd, start="inherited"),
    "kd-compensated": Arm(kd, start="compensated"),
    "aligned-inherited": Arm(partial(aligned, map_weight=5.0), start="inherited"),
    "aligned-compensated": Arm(partial(aligned, map_weight=5.0), start="compensated"),
    "aligned-ridge": Arm(partial(aligned, map_weight=5.0), start="ridge"),
    "uniform-ce": Arm(labels_alone, start="inherited", widths="uniform"),
    "dense-ce": Arm(labels_alone, widths="dense"),
    "dense-kd": Arm(kd, widths="dense"),
}
