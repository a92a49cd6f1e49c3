"""Whether the slimmed networks of zoo.py compute what the dense one computes without the removed channels."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import secateur as sc
from secateur.models.evaluate import batch_statistics
from secateur.models.subnetwork import Subnetwork
from secateur.models.surgery.reference import reference
from secateur.models.surgery.slim import slim
from secateur.models.tracing.modules import tensors_in

SUBNETWORKS = 3
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-9}  # of the largest output


@torch.no_grad()
def as_trained(model: nn.Module, images: Tensor) -> nn.Module:
    """No constant parameter (zeros, ones and tiny scales hide mistakes), running statistics of these images."""
    for parameter in model.parameters():
        if parameter.numel() > 1 and (parameter == parameter.flatten()[0]).all():
            ones = float(parameter.flatten()[0]) == 1
            parameter.uniform_(0.5, 1.5) if ones else parameter.normal_(0, 0.2)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()


def random_subnetwork(net: sc.Supernet, seed: int) -> Subnetwork:
    """Any channels of any number."""
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(g.width, rng.integers(1, g.width + 1), replace=False) for g in net.groups]
    return Subnetwork(tuple(tuple(np.sort(channels).tolist()) for channels in chosen))


def gap(slimmed: nn.Module, net: sc.Supernet, subnetwork: Subnetwork, images: Tensor) -> float:
    """The largest difference to the reference, as a share of the largest output; NaN where an output is not finite."""
    with torch.no_grad():
        pairs = list(zip(tensors_in(slimmed(images)), reference(net, subnetwork, images), strict=True))
    return float(torch.stack([(a - b).abs().max() / b.abs().max() for a, b in pairs]).max())


def gaps(net: sc.Supernet, subnetwork: Subnetwork, images: Tensor) -> dict[str, float]:
    """With running statistics and with those of the batch."""
    slimmed = slim(net, subnetwork).eval()
    running = gap(slimmed, net, subnetwork, images)
    with batch_statistics(net.model), batch_statistics(slimmed):
        return {"running": running, "batch": gap(slimmed, net, subnetwork, images)}


def worst_gaps(net: sc.Supernet, images: Tensor) -> Iterator[tuple[torch.dtype, dict[str, float]]]:
    """The worst gaps over the random subnetworks, in both precisions."""
    for dtype in CLOSE:
        typed = replace(net, model=net.model.to(dtype))
        each = [gaps(typed, random_subnetwork(net, seed), images.to(dtype)) for seed in range(SUBNETWORKS)]
        yield dtype, {mode: float(np.max([g[mode] for g in each])) for mode in each[0]}  # NaN wins


@torch.no_grad()
def rounding(net: sc.Supernet, subnetwork: Subnetwork, images: Tensor) -> float:
    """How far float32 takes a slimmed network from itself in float64, with batch statistics; as ``gap``."""
    slimmed = slim(net, subnetwork)
    double = deepcopy(slimmed).double()
    with batch_statistics(slimmed), batch_statistics(double):
        pairs = list(zip(tensors_in(slimmed(images)), tensors_in(double(images.double())), strict=True))
    return float(torch.stack([(a - b).abs().max() / b.abs().max() for a, b in pairs]).max())


def costs_equal(net: sc.Supernet, example: Tensor) -> bool:
    """Whether the closed forms give half of torch's FLOPs, and the parameters, of the slimmed networks."""
    return all(_costs_equal(net, random_subnetwork(net, seed), example) for seed in range(SUBNETWORKS))


def _costs_equal(net: sc.Supernet, subnetwork: Subnetwork, example: Tensor) -> bool:
    slimmed = slim(net, subnetwork).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        slimmed(example)
    found = counter.get_total_flops() / 2, sum(p.numel() for p in slimmed.parameters())
    return found == (net.macs(subnetwork), net.parameters(subnetwork))
