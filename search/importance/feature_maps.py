"""Filter importance from feature maps: the content of the channels, whatever the loss makes of it.

Both scores take a channel's map where a weight READS it (after batch norm, activation and residual sum, as in the
published code), averaged over images and over all layers that read it. They run the dense network
with its running statistics on the first images of the split that they are passed (in a search the holdout).
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import SecateurError
from ...models.evaluate import device_of
from ...models.inputs import call, moved
from ...models.split import Split
from ...models.supernet import Supernet
from ...models.tracing.atoms import FloatArray
from ...models.tracing.groups import ChannelGroup, Member
from ...models.tracing.modules import evaluating, named_tensors
from ...models.tracing.weight_reads import WeightRead, WeightReadRecorder
from .scores import Scores

HRANK_IMAGES = 100
CHIP_IMAGES = 20
BATCH = 20
CHUNK = 64  # channels whose removal is tried at once

Statistic: TypeAlias = Callable[[list[Tensor]], list[Tensor]]


def hrank(net: Supernet, split: Split) -> Scores:
    """The mean rank of a channel's H x W map, on 100 images in 5 batches of 20.

    Lin et al. 2020, https://arxiv.org/abs/2002.10179 (there 640 images). Small maps tie: behind global pooling a
    map is one number, and its rank says how often the channel is not zero.
    """
    return _averaged(net, split, net.groups, images=HRANK_IMAGES, statistic=_ranks)


def chip(net: Supernet, split: Split) -> Scores:
    """‖A‖_* − ‖A without channel c‖_*, A the maps of all channels that a layer reads, a row each; on 20 images.

    The nuclear norm falls least with the channel that the others come nearest to replacing. Sui et al. 2021,
    https://arxiv.org/abs/2110.13981 (there 640 images). Exact: one eigenvalue problem for each channel and image.
    """
    return _averaged(net, split, (*net.groups, *net.frozen), images=CHIP_IMAGES, statistic=_nuclear_losses)


def _ranks(maps: list[Tensor]) -> list[Tensor]:
    """Ranks, averaged over the maps of a channel, summed over images. Shape: (B, width, M, H, W) each → (width,)"""
    return [torch.linalg.matrix_rank(each.float()).double().mean(2).sum(0) for each in maps]


def _nuclear_losses(maps: list[Tensor]) -> list[Tensor]:
    """Nuclear norms lost with each channel, summed over images. Shape: (B, width, M, H, W) each → (width,)"""
    rows = [each.flatten(2).double() for each in maps]  # (B, width, M·H·W)
    longest = max(each.shape[2] for each in rows)
    stacked = torch.cat([F.pad(each, (0, longest - each.shape[2])) for each in rows], 1)
    losses = torch.stack([nuclear_losses(each) for each in stacked]).sum(0)
    return list(torch.split(losses, [each.shape[1] for each in rows]))


def nuclear_losses(matrix: Tensor) -> Tensor:
    """By how much the nuclear norm falls when each row is set to zero: Σ√λ over the eigenvalues of A·Aᵀ or Aᵀ·A.

    Of the two the smaller is taken; without row a the one loses a row and a column, the other aᵀ·a.

    Shape: matrix (C, F) float64 → (C,)
    """
    count, length = matrix.shape
    gram = matrix @ matrix.T if count <= length else matrix.T @ matrix
    stays = 1 - torch.eye(count, dtype=matrix.dtype, device=matrix.device)
    left = []
    for rows, kept in zip(torch.split(matrix, CHUNK), torch.split(stays, CHUNK), strict=True):
        if count <= length:
            without = gram * kept[:, :, None] * kept[:, None, :]
        else:
            without = gram - rows[:, :, None] * rows[:, None, :]
        left.append(_nuclear(without))
    return _nuclear(gram) - torch.cat(left)


def _nuclear(gram: Tensor) -> Tensor:
    """Σ√λ. Shape: (..., n, n) symmetric → (...)"""
    total: Tensor = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().sum(-1)
    return total


@torch.no_grad()
def _averaged(
    net: Supernet, split: Split, groups: Sequence[ChannelGroup], *, images: int, statistic: Statistic
) -> Scores:
    """``statistic`` of the maps of these groups, averaged over images and over the weights that read them."""
    tensors = named_tensors(net.model)
    read: dict[str, list[tuple[int, Member]]] = {}  # weight → the groups it reads
    for g, group in enumerate(groups):
        for member in group.members:
            if member.reads:
                read.setdefault(member.tensor, []).append((g, member))
    total: dict[int, dict[str, FloatArray]] = {g: {} for g in range(len(groups))}
    seen = dict.fromkeys(read, 0)

    def add(weight: WeightRead) -> None:
        name, x = weight.name, weight.by_image(count)
        maps = [channel_maps(x, m, groups[g].width, net.shapes[name][m.dim]) for g, m in read[name]]
        for (g, _), found in zip(read[name], statistic(maps), strict=True):
            total[g][name] = total[g].get(name, 0) + found.cpu().numpy()
        seen[name] += len(x)

    with evaluating(net.model):
        for batch, _, indices in split.batches(BATCH, images):
            count = len(indices)
            with WeightReadRecorder({name: tensors[name] for name in read}, before=add):
                call(net.model, moved(batch, device_of(net.model)))
    return [_mean(group, [total[g][name] / seen[name] for name in total[g]]) for g, group in enumerate(net.groups)]


def _mean(group: ChannelGroup, found: Sequence[FloatArray]) -> FloatArray:
    if not found:
        raise SecateurError(
            f"no feature map of group {group.name} was seen, since forward computes the weights that read it; use l2"
        )
    mean: FloatArray = np.mean(found, axis=0)
    return mean


def channel_maps(x: Tensor, member: Member, width: int, size: int) -> Tensor:
    """The maps of a group's channels, out of what a weight reads whose dimension has ``size`` places.

    A channel has several maps where it fills several places: in a grouped convolution, or twice in a
    concatenation. Where places have no extent, as behind a flatten, a channel's places are its map.

    Shape: x (B, channels, places...) → (B, width, M, H, W)
    """
    order = np.lexsort((member.places, member.channels))
    places = torch.from_numpy(member.places[order]).to(x.device)
    space = x.shape[2:]
    parts = x.reshape(len(x), -1, size, *space).index_select(2, places)  # (B, parts of a grouped convolution, n, ...)
    maps = parts.reshape(len(x), parts.shape[1], width, -1, *space).movedim(2, 1).flatten(2, 3)  # (B, width, M, ...)
    if space.numel() == 1:
        maps = maps.flatten(2)[:, :, None]
    return _as_matrices(maps)


def _as_matrices(maps: Tensor) -> Tensor:
    """One row becomes a square where its length is one; planes of a volume become maps. Shape: (B, width, M, H, W)"""
    if maps.ndim > 4:
        return maps.flatten(2, -3)
    length = maps.shape[3]
    side = math.isqrt(length)
    return maps.reshape(*maps.shape[:3], *((side, side) if side**2 == length else (1, length)))
