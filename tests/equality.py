"""What must hold of every network and subnetwork: the slimmed one gives the outputs and costs that were promised.

The promise for outputs is ``reference``: the dense network with the removed channels unread.
"""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from secateur.models.evaluate import batch_statistics
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.surgery.reference import reference
from secateur.models.surgery.slim import slim
from secateur.models.tracing.modules import evaluating

Inputs: TypeAlias = tuple[Tensor, ...]

CLOSE = {torch.float32: 1e-4, torch.float64: 1e-9}  # of the largest output


def randomised(model: nn.Module, *examples: Tensor, seed: int = 0) -> nn.Module:
    """The same model with nothing left as it starts, where zeros and ones would hide mistakes.

    Vectors, and what is zero, vary: biases about 0, scales (of norms, layers, slopes) about 1. Running statistics
    are about those of random images, so that signals neither die nor explode.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if max(tensor.shape, default=0) == tensor.numel():
                centre = 0.0 if name.endswith("bias") else 1.0
                tensor.uniform_(centre - 0.5, centre + 0.5, generator=generator)
            elif not tensor.any():
                tensor.normal_(0, 0.1, generator=generator)
        _set_running_statistics(model, drawn(examples, 8, generator))
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.mul_(torch.empty_like(buffer).uniform_(0.7, 1.4, generator=generator))
    return model


def _set_running_statistics(model: nn.Module, inputs: Inputs) -> None:
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    with evaluating(model):
        for norm in norms:
            norm.momentum = 1.0
            norm.train()
        model(*inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def drawn(examples: Sequence[Tensor], number: int, generator: torch.Generator) -> Inputs:
    """``number`` random inputs of the shapes of ``examples``."""
    return tuple(torch.randn(number, *x.shape[1:], generator=generator).to(x.dtype) for x in examples)


def in_double(net: Supernet) -> Supernet:
    """The same supernet in double precision, without a second trace."""
    return dataclasses.replace(net, model=copy.deepcopy(net.model).double(), examples=doubled(net.examples))


def doubled(inputs: Inputs) -> Inputs:
    return tuple(x.double() if x.is_floating_point() else x for x in inputs)


def random_subnetwork(net: Supernet, seed: int) -> Subnetwork:
    """Any channels of any number, not the first ones."""
    g = np.random.default_rng(seed)
    chosen = [g.choice(x.width, g.integers(1, x.width + 1), replace=False) for x in net.groups]
    return Subnetwork(tuple(tuple(np.sort(channels).tolist()) for channels in chosen))


def images(net: Supernet, number: int, seed: int = 0) -> Inputs:
    """``number`` random inputs for this supernet."""
    return drawn(net.examples, number, torch.Generator().manual_seed(seed))


def tensors(output: object) -> Iterator[Tensor]:
    """The tensors of an output, however it is nested."""
    if isinstance(output, Tensor):
        yield output
    elif dataclasses.is_dataclass(output):
        yield from tensors(list(vars(output).values()))
    elif isinstance(output, (list, tuple, dict)):
        for each in output.values() if isinstance(output, dict) else output:
            yield from tensors(each)


def run(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    with torch.no_grad():
        return list(tensors(model(*inputs)))


def gap(made: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference of the outputs, as a share of the largest output."""
    assert [a.shape for a in made] == [b.shape for b in expected]
    assert all(bool(b.isfinite().all()) for b in expected)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(made, expected, strict=True))


def gaps(net: Supernet, subnetwork: Subnetwork, inputs: Inputs) -> list[float]:
    """How far the slimmed network is from its reference: with running statistics, and with those of the batch."""
    slimmed, found = slim(net, subnetwork), []
    for mode in (evaluating, batch_statistics):
        with mode(slimmed), mode(net.model):
            found.append(gap(run(slimmed, inputs), reference(net, subnetwork, *inputs)))
    return found


def flops(model: nn.Module, inputs: Inputs) -> int:
    """What torch counts of one forward pass."""
    with FlopCounterMode(display=False) as counter, evaluating(model):
        run(model, inputs)
    return int(counter.get_total_flops())


def assert_costs(net: Supernet, subnetwork: Subnetwork, device: str = "meta") -> None:
    """The closed forms give what torch counts on the slimmed network."""
    slimmed = slim(net, subnetwork)
    assert net.parameters(subnetwork) == sum(p.numel() for p in slimmed.parameters())
    assert 2 * net.macs(subnetwork) == flops(slimmed.to(device), tuple(x.to(device) for x in net.examples))


def assert_slims(net: Supernet, subnetworks: int = 3, number: int = 4, device: str = "meta") -> None:
    """Random subnetworks give the reference's outputs in both precisions, at the costs that were computed.

    ``number`` images a batch; ``device`` is where the operations are counted. That removed channels matter is
    asserted too: else equality would prove nothing.
    """
    inputs, double, changes = images(net, number), in_double(net), []
    for subnetwork in (random_subnetwork(net, seed) for seed in range(subnetworks)):
        assert_costs(net, subnetwork, device)
        assert max(gaps(net, subnetwork, inputs)) < CLOSE[torch.float32]
        assert max(gaps(double, subnetwork, doubled(inputs))) < CLOSE[torch.float64]
        with evaluating(net.model):
            changes.append(gap(reference(net, subnetwork, *inputs), run(net.model, inputs)))
    assert max(changes) > 1e-3
