"""Closed-form weight compensation: weights that read a narrowed group are refitted to their dense outputs.

With p a row of the dense layer's input, W its weights, K the kept columns and R the removed ones, the ridge
regression of W p on p_K, shrunk towards the inherited weights, is W_K' = W_K + W_R G_RK (G_KK + r I)⁻¹, where
G = E[p pᵀ].
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..subnetwork import Subnetwork
from ..supernet import Supernet
from ..surgery.places import kept_places
from ..surgery.slim import slim
from ..tracing.weight_reads import as_matrix, write_matrix
from .gram import Gram

RIDGE = 1e-3  # of the mean of a Gram's diagonal


@torch.no_grad()
def refit(net: Supernet, subnetwork: Subnetwork, grams: Mapping[str, Gram], ridge: float = RIDGE) -> nn.Module:
    """``slim``, with every weight that reads a narrowed group refitted to the dense inputs; no forward pass.

    A change of the mean goes into the bias or, where batch norm follows, into its statistics: evaluate with those
    of the batch, or recalibrate.
    """
    model = slim(net, subnetwork)
    dense, tensors = dict(net.model.named_parameters()), dict(model.named_parameters())
    places = kept_places(net, subnetwork)
    for name in grams.keys() & places.keys():
        gram, weight = grams[name], dense[name].detach()
        made, *_, read = gram.order
        kept = {dim: torch.from_numpy(each).to(weight.device) for dim, each in places[name].items()}
        if read in kept and len(kept[read]) < weight.shape[read]:
            narrow = weight.index_select(made, kept[made]) if made in kept else weight
            matrix = as_matrix(narrow, gram.order, gram.groups).to(gram.blocks[0].dtype)
            fitted, shift = ridge_fit(matrix, gram, _stays(gram, weight, kept[read]), ridge)
            write_matrix(tensors[name], gram.order, fitted)
            if gram.bias:
                tensors[gram.bias].add_(shift.flatten())
    return model


def ridge_fit(matrix: Tensor, gram: Gram, stays: Tensor, ridge: float = RIDGE) -> tuple[Tensor, Tensor]:
    """The refitted kept columns, and the change of the bias.

    Shape: matrix (groups, made, columns), stays (columns,) bool → (groups, made, kept), (groups, made)
    """
    kept, shift = [], matrix.new_zeros(matrix.shape[:2])
    parts = zip(torch.split(matrix, gram.widths, -1), gram.blocks, torch.split(stays, gram.widths), strict=True)
    for part, block, stay in parts:
        inside, outside = stay.nonzero()[:, 0], (~stay).nonzero()[:, 0]
        known = torch.cat([inside, inside.new_tensor([len(stay)] if gram.frees_means else [])])
        lost = part[..., outside] @ block[:, outside][:, :, known]  # E[lost output x known input]
        change = solve(lost, block[:, known][:, :, known], len(inside), ridge)
        kept.append(part[..., inside] + change[..., : len(inside)])
        shift += change[..., len(inside) :].sum(-1)
    return torch.cat(kept, -1), shift


def solve(across: Tensor, among: Tensor, columns: int, ridge: float) -> Tensor:
    """E (H + r I)⁻¹ with the ridge on the first ``columns``, a share of their mean diagonal.

    Where H is not positive definite even so in this precision, the ridge grows until it is; zeros where H is zero.

    Shape: across E (groups, made, d), among H (groups, d, d) → (groups, made, d)
    """
    size = among.diagonal(0, 1, 2)[:, :columns].mean()
    for share in (ridge, 1e-2, 1e-1, 1.0):
        padded = among.clone()
        padded.diagonal(0, 1, 2)[:, :columns] += share * size
        factor, failed = torch.linalg.cholesky_ex(padded)
        if not failed.any():
            return torch.cholesky_solve(across.transpose(1, 2), factor).transpose(1, 2)
    return torch.zeros_like(across)


def _stays(gram: Gram, weight: Tensor, kept: Tensor) -> Tensor:
    """Which columns of a weight's matrix stay. Shape: kept (k,) places → (columns,) bool"""
    stays = torch.zeros(weight.shape[gram.order[-1]], dtype=torch.bool, device=weight.device)
    stays[kept] = True
    kernel = [weight.shape[dim] for dim in gram.order[1:-1]]
    return stays.expand(*kernel, -1).flatten()
