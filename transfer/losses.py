"""The losses of knowledge transfer, as pure functions of logits and embeddings."""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.tasks.classification import TEMPERATURE as TEMPERATURE
from ..models.tasks.classification import kl as kl

FAINT = 1e-4  # of the mean variance of channels: one that varies less is dead

RowDivergence: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # of teacher and student (..., P) → (...,)


def kd_loss(teacher: Tensor, student: Tensor, labels: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """T² · KL(teacher || student) of every row, as a loss for ``Distillation``; the labels are not used.

    Shape: teacher (..., C), student (..., C), labels (...,) → (...,)
    """
    return kl(teacher, student, temperature)


def dkd_loss(
    teacher: Tensor,
    student: Tensor,
    labels: Tensor,
    *,
    temperature: float = TEMPERATURE,
    target: float = 1.0,
    others: float = 2.0,
) -> Tensor:
    """DKD: KL of the labelled class against all others, and KL among the others, weighted apart, times T².

    ``target`` · KL((p_y, 1 − p_y) || (q_y, 1 − q_y)) + ``others`` · KL(p without y || q without y), the latter
    renormalised: with weights 1 and 1 − p_y it is ``kl``. Zhao et al. 2022, https://arxiv.org/abs/2203.08679; the
    weights are those of its code for ResNet-56 to ResNet-20.

    Shape: teacher (..., C), student (..., C), labels (...,) → (...,)
    """
    p, q = teacher / temperature, student / temperature
    binary = kl(_binary(p, labels), _binary(q, labels), 1)
    among = kl(_without(p, labels), _without(q, labels), 1)
    return temperature**2 * (target * binary + others * among)


def _binary(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits of the labelled class and of all others together. Shape: (..., C), (...,) → (..., 2)"""
    own = logits.gather(-1, labels[..., None])
    return torch.cat([own, _without(logits, labels).logsumexp(-1, keepdim=True)], -1)


def _without(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits of all classes but the labelled. Shape: (..., C), (...,) → (..., C - 1)"""
    others = torch.arange(logits.shape[-1] - 1, device=logits.device).expand(*labels.shape, -1)
    return logits.gather(-1, others + (others >= labels[..., None]))


def open_gates(teachers: Tensor, student: Tensor, divergence: RowDivergence = kl) -> Tensor:
    """Which teachers are used: those nearer to the best teacher than the student is, over the whole batch.

    m_k = 1[Σ_i KL(M_i1 || M_ik) < Σ_i KL(M_i1 || student_i)], the best teacher (k = 1) always. A poor student
    learns from the mean of all, a good one only from the best: a curriculum. EKG (https://arxiv.org/abs/2203.02651),
    its code's reading of the poster's gate; m_1 is forced since equality would close every gate. ``divergence`` stands
    for KL, in another task than classification.

    Shape: teachers (B, K, C) best first, student (B, C) → (K,) bool
    """
    best = teachers[:, 0]
    progress = divergence(best, student).sum()
    apart = divergence(best[:, None], teachers).sum(0)  # (K,)
    gates = apart < progress
    gates[0] = True
    return gates


def gated_transfer(
    teachers: Tensor,
    views: Tensor,
    temperature: float = TEMPERATURE,
    power: int = 1,
    *,
    divergence: RowDivergence | None = None,
) -> Tensor:
    """CKT-A: KL from the mean logits of the teachers whose gates are open to each view of an image.

    (1/VB) Σ_v Σ_i T·KL(mean_k∈open M_ik || z_i^v). EKG's poster, eq. 12, without its cross-entropy term. Teachers may
    have logits for each view of its own; gates compare means over views. ``divergence`` stands for T·KL, in another
    task than classification.

    Shape: teachers (B, K, C) or (V, B, K, C) best first, views (V, B, C) → ()
    """
    each = teachers.expand(*views.shape[:2], *teachers.shape[-2:])
    divergence = divergence or partial(kl, temperature=temperature, power=power)
    gates = open_gates(each.mean(0), views.detach().mean(0), divergence)
    target = teachers[..., gates, :].mean(-2)
    return divergence(target.expand_as(views), views).mean()


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of features, each channel in units of its variance in the teacher's batch.

    1/(N·C·P) Σ_ncp (S_ncp − T_ncp)² / Var_np(T_ncp): 1 for a student that knows each channel's mean alone. Channels
    that hardly vary, below ``FAINT`` of the mean variance, have no weight. Block-wise distillation of Aflalo et al.
    2020, https://arxiv.org/abs/2002.08258, with the student's channels out of the teacher's.

    Shape: student and teacher (N, C) or (N, C, pixels...) → ()
    """
    others = [0, *range(2, teacher.ndim)]
    variance = teacher.var(others, correction=0)
    weight = torch.where(variance > FAINT * variance.mean(), 1 / variance, 0)
    return ((student - teacher).square().mean(others) * weight).mean()


def info_nce(queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE of each view against its image's key in the bank and keys of images of other classes.

    −(1/VB) Σ_v Σ_i log( exp(q_i^v·k_i/τ) / (exp(q_i^v·k_i/τ) + Σ_j exp(q_i^v·n_ij/τ)) ), all of unit length.
    van den Oord et al. 2018, https://arxiv.org/abs/1807.03748; here keys are static, from the bank.

    Shape: queries (V, B, D), keys (B, D), negatives (B, M, D) → ()
    """
    positive = torch.einsum("vbd,bd->vb", queries, keys)[..., None]  # (V, B, 1)
    negative = torch.einsum("vbd,bmd->vbm", queries, negatives)  # (V, B, M)
    return info_nce_from_similarities(positive, negative, temperature)


def info_nce_from_similarities(positive: Tensor, negative: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE of similarities: −log softmax of the positive among it and the negatives; one of −∞ does not count.

    Shape: positive (..., 1), negative (..., M) → ()
    """
    similar = torch.cat([positive, negative], -1) / temperature
    return -F.log_softmax(similar, -1)[..., 0].mean()


def crd_nce(similar: Tensor, normaliser: Tensor, images: int, temperature: float = 0.07) -> Tensor:
    """CRD's NCE: is a row of the memory the anchor's own (the first), or one of M drawn at random?

    −(1/B) Σ_i [ log P_i0/(P_i0 + M/N) + Σ_j≥1 log (M/N)/(P_ij + M/N) ] with P = exp(s/τ)/Z and N ``images``. Tian et
    al. 2020, https://arxiv.org/abs/1910.10699, in the form of its code, which sets Z once; written in log-odds, so
    that it needs no ε to stay finite.

    Shape: similar (B, 1 + M) inner products, normaliser () → ()
    """
    odds = similar / temperature - normaliser.log() - math.log((similar.shape[1] - 1) / images)
    return -(F.logsigmoid(odds[:, 0]) + F.logsigmoid(-odds[:, 1:]).sum(1)).mean()
