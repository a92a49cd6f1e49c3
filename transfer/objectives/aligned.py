"""Features of the dense network on the channels that the student keeps: no projection, since they are the same ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ...models.evaluate import device_of
from ...models.module_outputs import FeatureMap, feature_maps, kept_channels, outputs_of, stage_ends
from ...models.subnetwork import Subnetwork
from ...models.supernet import Supernet
from ...models.surgery.places import kept_places
from ..bank.bank import MemoryBank
from ..losses import feature_loss
from .base import LABEL_WEIGHT, TEACHER_WEIGHT, Objective, OnlineTeacher, StudentBatch, bank_teacher, label_loss

MapChoice: TypeAlias = Callable[[Mapping[str, FeatureMap]], Sequence[FeatureMap]]


@dataclass(frozen=True)
class AlignedConfig:
    """Weights of the terms; one of weight 0 is not computed.

    Args:
        label_weight: Of cross-entropy.
        teacher_weight: Of T² KL from the dense network.
        embedding_weight: Of the difference of embeddings, on the channels that the student keeps.
        map_weight: Of the difference of each feature map.
    """

    label_weight: float = LABEL_WEIGHT
    teacher_weight: float = TEACHER_WEIGHT
    embedding_weight: float = 0.0
    map_weight: float = 5.0


ALIGNED = AlignedConfig()


@dataclass(frozen=True, eq=False)
class KeptFeatures:
    """Which of the dense network's features a student has: K of channel c = K[c], in the student's order.

    ``embedding``: the places of the embedding; None: it cannot be matched. ``maps``: the channels of feature maps, by
    the module that returns them; none where they could not be followed. Shape: embedding (D,), maps (C,) each
    """

    embedding: Tensor | None
    maps: Mapping[str, Tensor]

    @classmethod
    def of(cls, net: Supernet, student: Subnetwork, choose: MapChoice = stage_ends) -> "KeptFeatures":
        """The features that a subnetwork keeps; ``choose`` picks the feature maps.

        >>> import torch, secateur as sc
        >>> net = sc.Supernet.of(sc.constructor("resnet20", classes=10)(), torch.zeros(1, 3, 32, 32))
        >>> {name: len(channels) for name, channels in KeptFeatures.of(net, net.dense).maps.items()}
        {'layer1': 16, 'layer2': 32, 'layer3': 64}
        """
        maps = kept_channels(net, student, choose(feature_maps(net)))
        device = device_of(net.model)
        return cls(_embedding(net, student), {name: torch.from_numpy(kept).to(device) for name, kept in maps.items()})


class AlignedTransfer(Objective):
    """Distillation from the dense network: its logits, and its features on the channels that the student keeps.

    L = ``label_weight`` · CE + ``teacher_weight`` · T² KL + ``embedding_weight`` · d(embeddings) + ``map_weight`` · Σ_b
    d(S_b, T_b[K_b]) with d the ``feature_loss`` and b the feature maps of ``kept``. The dense network runs on the
    student's own views. With a ``bank`` that fills itself it does so in the first epochs alone, until training has
    shown all fixed views once; its logits are stored, and read from then on, without the features.
    """

    def __init__(
        self,
        dense: OnlineTeacher,
        kept: KeptFeatures,
        config: AlignedConfig = ALIGNED,
        bank: MemoryBank | None = None,
    ) -> None:
        super().__init__()
        self.dense, self.kept, self.config, self.bank = dense, kept, config, bank
        self.features = tuple(kept.maps) if config.map_weight else ()

    def __call__(self, batch: StudentBatch) -> Tensor:
        """The weighted sum of the terms."""
        if self.bank is not None and batch.epoch >= len(self.bank.fixed):
            return self._distillation(bank_teacher(self.bank)(batch), batch)
        with outputs_of(self.dense.model, self.features) as maps:
            logits, embeddings = self.dense(batch)
        if self.bank is not None and self.bank.source:
            for view, rows in zip(batch.fixed, logits, strict=True):
                self.bank.source.store(view, rows, batch.indices)
            if len(self.bank.teachers) > 1:
                logits = bank_teacher(self.bank)(batch)
        return self._distillation(logits, batch) + self._difference(batch, embeddings, maps)

    def _distillation(self, logits: Tensor, batch: StudentBatch) -> Tensor:
        loss = self.config.label_weight * label_loss(batch)
        if not self.config.teacher_weight:
            return loss
        return loss + self.config.teacher_weight * batch.divergence(logits, batch.logits).mean()

    def _difference(self, batch: StudentBatch, embeddings: Tensor, maps: Mapping[str, Tensor]) -> Tensor:
        config, loss = self.config, embeddings.new_zeros(())
        if config.embedding_weight and self.kept.embedding is not None:
            student, teacher = batch.embeddings.flatten(0, 1), embeddings.flatten(0, 1)
            loss = loss + config.embedding_weight * _distance(student, teacher, self.kept.embedding)
        for name in self.features:
            loss = loss + config.map_weight * _distance(batch.features[name], maps[name], self.kept.maps[name])
        return loss


def _distance(student: Tensor, teacher: Tensor, kept: Tensor) -> Tensor:
    """The ``feature_loss`` on the channels that are kept. Shape: (N, C, ...), (N, dense, ...), (C,) → ()"""
    chosen = teacher.detach() if len(kept) == teacher.shape[1] else teacher.index_select(1, kept.to(teacher.device))
    return feature_loss(student.float(), chosen.float())


def _embedding(net: Supernet, student: Subnetwork) -> Tensor | None:
    """The places of the dense embedding that a student keeps; None where the network has no single last layer."""
    if net.head is None:
        return None
    weight = f"{net.head}.weight"
    kept = kept_places(net, student).get(weight, {}).get(1)
    return torch.arange(net.shapes[weight][1]) if kept is None else torch.from_numpy(kept)
