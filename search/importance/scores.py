"""The type of a filter importance, the weights it reads, and normalisations that make layers comparable."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch

from ...models.split import Split
from ...models.supernet import Supernet
from ...models.tracing.atoms import FloatArray
from ...models.tracing.groups import Member

Scores: TypeAlias = list[FloatArray]  # one array (width of the group,) for each group; low ones go first
Importance: TypeAlias = Callable[[Supernet, Split], Scores]
Normalisation: TypeAlias = Callable[[Sequence[FloatArray]], Scores]

TINY = 1e-30  # in place of a sum of scores that are all zero


def makers(net: Supernet) -> list[list[Member]]:
    """For each group, the weights whose filters make its channels; depthwise ones count."""
    made, tensors = np.unique(np.concatenate(net.trace.made)), net.trace.tensors

    def makes(member: Member) -> bool:
        return not member.reads and bool(np.isin(tensors[member.tensor][member.dim][member.places], made).all())

    return [[member for member in group.members if makes(member)] for group in net.groups]


def readers(net: Supernet) -> list[list[Member]]:
    """For each group, the weights that sum over its channels."""
    return [[member for member in group.members if member.reads] for group in net.groups]


def average(net: Supernet, members: Sequence[Sequence[Member]], score: Callable[[Member, int], FloatArray]) -> Scores:
    """The mean of ``score(member, width)`` over the members of each group, so that large groups gain nothing.

    A sum would favour a residual stage, which has many members, over a block's inner channels, which have two.
    """
    pairs = zip(net.groups, members, strict=True)
    return [np.mean([score(member, group.width) for member in those], axis=0) for group, those in pairs]


def per_place(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    """One row for each place of a dimension, with everything that lies there; float64. Shape: → (size of dim, rest)"""
    return tensor.detach().double().movedim(dim, 0).reshape(tensor.shape[dim], -1)


def sums(tensor: torch.Tensor, dim: int) -> FloatArray:
    """Sum over every dimension but one, as float64. Shape: → (size of dim,)"""
    total: FloatArray = per_place(tensor, dim).sum(1).cpu().numpy()
    return total


def per_group(scores: Sequence[FloatArray]) -> Scores:
    """Each group's scores divided by their mean: scales of layers differ by orders of magnitude.

    Shape: (width of the group,) each → the same
    """
    return [score / max(float(score.mean()), TINY) for score in scores]


def lamp(scores: Sequence[FloatArray]) -> Scores:
    """s_c² / Σ s_j² over the j of the group with s_j ≥ s_c: a channel's share among those that outlive it.

    Layer-adaptive magnitude pruning (Lee et al. 2021, https://arxiv.org/abs/2010.07611), for filters instead of
    single weights; s is meant to be a norm, as l2 is. The strongest channel of every group gets 1, so one
    threshold over all groups empties none. The order within a group stays. For ``threshold(..., normalise=lamp)``.

    Shape: (width of the group,) each, not negative → the same, in [0, 1]
    """
    return [_lamp(score) for score in scores]


def _lamp(score: FloatArray) -> FloatArray:
    squares = (score / max(float(score.max()), TINY)) ** 2
    ascending = np.sort(squares)
    outliving = np.cumsum(ascending[::-1])[::-1]  # each and all after it
    worth: FloatArray = squares / np.maximum(outliving[np.searchsorted(ascending, squares)], TINY)
    return worth
