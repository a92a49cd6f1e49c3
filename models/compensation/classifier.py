"""The last layer, refitted to the dense network's outputs from what the slimmed network feeds it."""

import torch
from torch import Tensor, nn

from ..evaluate import batch_statistics, device_of, embed
from ..inputs import moved
from ..split import Split
from ..supernet import Supernet
from ..tracing.modules import evaluating
from .gram import IMAGES
from .ridge import RIDGE

BATCH = 500


@torch.no_grad()
def refit_classifier(net: Supernet, model: nn.Module, split: Split, *, images: int = IMAGES) -> None:
    """Set the last linear layer of a slimmed network, in place, so that it outputs nearly what the dense one does.

    W = (HᵀH + r·I)⁻¹ HᵀZ, with H the slimmed network's embeddings, a one among them for the bias, and Z the dense
    network's logits for the same images; the bias is not shrunk. Batch norm uses the statistics of the batch. A network
    without a single last linear layer stays as it is.

    Args:
        net: The dense network with its structure.
        model: A subnetwork of it.
        split: The training images.
        images: How many of them the fit is on.
    """
    head = model.get_submodule(net.head) if net.head else None
    if not isinstance(head, nn.Linear):
        return
    features, targets = list[Tensor](), list[Tensor]()
    for batch in split.batches(BATCH, images):
        inputs = moved(batch.images, device_of(net.model))
        with batch_statistics(model):
            features.append(embed(model, net.head, inputs)[1].double())
        with evaluating(net.model):
            targets.append(embed(net.model, net.head, inputs)[0].double())
    weight, bias = ridge(torch.cat(features), torch.cat(targets))
    head.weight.copy_(weight)
    if head.bias is not None:
        head.bias.copy_(bias)


def ridge(features: Tensor, targets: Tensor, strength: float = RIDGE) -> tuple[Tensor, Tensor]:
    """The weight and bias that minimise ‖H Wᵀ + b − Z‖²/N + r‖W‖², r ``strength`` of the features' mean variance.

    Shape: features H (N, D), targets Z (N, C) → (C, D), (C,)
    """
    centre, level = features.mean(0), targets.mean(0)
    h, z = features - centre, targets - level
    moment = h.T @ h / len(h)
    shrunk = moment + strength * moment.diagonal().mean() * torch.eye(len(moment), dtype=h.dtype, device=h.device)
    weight = torch.linalg.solve(shrunk, h.T @ z / len(h)).T
    return weight, level - weight @ centre
