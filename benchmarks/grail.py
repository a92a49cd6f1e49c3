"""GRAIL's compensation, written from its description: removed channels are rebuilt from kept ones, kernels aside.

https://arxiv.org/abs/2602.23795. With x the channels that a layer reads at one place, K the kept ones and G = E[x xᵀ],
the ridge regression of x on x_K is B = G_·K (G_KK + r I)⁻¹, and a layer that read x reads x_K by the weights W B, at
every place of its kernel alike. The ridge is the published one, 1e-3 of the mean diagonal.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

import secateur as sc
from secateur.models.compensation.gram import Gram
from secateur.models.subnetwork import Subnetwork
from secateur.models.surgery.places import kept_places
from secateur.models.surgery.slim import slim

RIDGE = 1e-3


@torch.no_grad()
def grail(net: sc.Supernet, subnetwork: Subnetwork, grams: Mapping[str, Gram]) -> nn.Module:
    """``slim``, with every weight that reads a narrowed group merged by its channels' Gram; recalibrate before use."""
    model, places = slim(net, subnetwork), kept_places(net, subnetwork)
    dense, tensors = dict(net.model.named_parameters()), dict(model.named_parameters())
    for name in grams.keys() & places.keys():
        weight, (made, *_, read) = dense[name].detach(), grams[name].order
        kept = {dim: torch.from_numpy(each) for dim, each in places[name].items()}
        if read in kept and len(kept[read]) < weight.shape[read]:
            merge = rebuilding(channel_gram(grams[name], weight.shape[read]), kept[read])
            rows = weight.index_select(made, kept[made]) if made in kept else weight
            tensors[name].copy_(torch.tensordot(rows, merge, dims=([read], [0])).movedim(-1, read))
    return model


def channel_gram(gram: Gram, channels: int) -> Tensor:
    """E[x xᵀ] of the channels at one place, the mean over the places of the kernel. Shape: → (channels, channels)"""
    inner = [block[..., :-1, :-1] for block in gram.blocks]  # less the ones behind the rows
    places = [
        block[..., start : start + channels, start : start + channels]
        for block in inner
        for start in range(0, block.shape[-1], channels)
    ]
    return torch.cat(places).mean(0)


def rebuilding(gram: Tensor, kept: Tensor, ridge: float = RIDGE) -> Tensor:
    """The ridge regression B of all channels on the kept ones. Shape: (C, C), (k,) → (C, k)"""
    among = gram[kept][:, kept]
    among.diagonal().add_(ridge * among.diagonal().mean())
    solved: Tensor = torch.linalg.solve(among, gram[kept])
    return solved.T
