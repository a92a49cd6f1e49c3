from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch_pruning as tp
from scored import MADE, MAKERS, READ, READERS, by_torch_pruning, drawn, noise, residual
from torch import Tensor, nn
from toys import FixedKernel

from secateur.data.images import Images
from secateur.models.supernet import Supernet
from secateur.search.importance.scores import Importance, Scores
from secateur.search.importance.taylor import TAYLOR_BATCH, TAYLOR_IMAGES, taylor, taylor_weight

BOTH: list[Importance] = [taylor, taylor_weight]


@contextmanager
def gated(model: nn.Module, gates: dict[str, Tensor]) -> Iterator[None]:
    """Multiply what each of these layers reads by its gates, channel by channel."""

    def hook(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        gate = gates[names[module]]
        x = inputs[0]
        return x * (gate[:, None, None] if x.ndim == 4 else gate.repeat_interleave(x.shape[1] // len(gate)))

    names = {model.get_submodule(name): name for name in gates}
    hooks = [module.register_forward_pre_hook(hook) for module in names]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()


def gate_gradients(net: Supernet, split: Images) -> Scores:
    """What ``taylor`` claims to be: |gradient of a gate at one|, summed over batches, averaged over readers."""
    widths = {group.name: group.width for group in net.groups}
    total = {name: np.zeros(width) for name, width in widths.items()}
    for images, labels, _ in split.batches(TAYLOR_BATCH):
        gates = {r: torch.ones(widths[g], requires_grad=True) for g, readers in READERS.items() for r in readers}
        with gated(net.model, gates):
            loss = F.cross_entropy(net.model(images), labels, reduction="sum")
        found = dict(zip(gates, torch.autograd.grad(loss, list(gates.values())), strict=True))
        for group, readers in READERS.items():
            for reader in readers:
                total[group] += found[reader].abs().numpy() / len(readers)
    return [total[group.name] for group in net.groups]


def backward(net: Supernet, images: Tensor, labels: Tensor) -> nn.Module:
    """A copy of the network with the gradient of the summed loss."""
    model = deepcopy(net.model)
    model.zero_grad()
    F.cross_entropy(model(images), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
    return model


def product(model: nn.Module, layer: str) -> Tensor:
    """Shape: W·∂J/∂W of a layer, (made, ...)"""
    weight = model.get_parameter(f"{layer}.weight")
    return (weight * torch.as_tensor(weight.grad)).detach().double()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_taylor_is_the_gradient_of_a_gate_where_each_reader_reads(seed: int) -> None:
    net, split = residual(seed), noise(2 * TAYLOR_BATCH + 60, seed)  # three batches, the last one short
    for score, expected in zip(taylor(net, split), gate_gradients(net, split), strict=True):
        np.testing.assert_allclose(score, expected, rtol=1e-3, atol=1e-3 * expected.max())


def test_taylor_takes_absolute_values_batch_by_batch() -> None:
    net, split = residual(), noise(2 * TAYLOR_BATCH)
    first = next(split.batches(TAYLOR_BATCH)).indices
    labels = torch.ones(2 * TAYLOR_BATCH, dtype=torch.int64).index_fill(0, first, 0)
    split = replace(split, labels=labels)  # one class in each batch, so that gradients point opposite ways
    models = [backward(net, images, labels) for images, labels, _ in split.batches(TAYLOR_BATCH)]
    grads = [product(model, "back").sum((0, 2, 3)).numpy() for model in models]
    inner = taylor(net, split)[[group.name for group in net.groups].index("inner")]
    np.testing.assert_allclose(inner, np.abs(grads).sum(0), rtol=1e-3)
    assert (inner > 1.01 * np.abs(np.sum(grads, 0))).any()  # the sum of signed gradients is another thing


@pytest.mark.parametrize("seed", [0, 1])
def test_taylor_weight_squares_each_weight_of_a_filter_alone(seed: int) -> None:
    net, split = residual(seed), noise(TAYLOR_BATCH + 60, seed)
    models = [backward(net, images, labels) for images, labels, _ in split.batches(TAYLOR_BATCH)]
    for group, score in zip(net.groups, taylor_weight(net, split), strict=True):
        made = [[product(m, layer).square().flatten(1).sum(1) for m in models] for layer in MAKERS[group.name]]
        expected = np.mean([torch.stack(each).sum(0).numpy() for each in made], axis=0)
        np.testing.assert_allclose(score, expected, rtol=1e-3, atol=1e-4 * expected.max())


def graded(net: Supernet, split: Images) -> Supernet:
    """The same network with the gradient that torch-pruning wants to find on it."""
    images, labels, _ = next(split.batches(TAYLOR_BATCH))
    return replace(net, model=backward(net, images, labels))


def test_taylor_on_one_batch_is_what_torch_pruning_gives_for_the_readers() -> None:
    net, split = residual(), noise(TAYLOR_BATCH)
    peer = tp.importance.TaylorImportance(normalizer=None, multivariable=True)
    # it takes the head's four places of a channel one by one, which is another score
    for group, score in list(zip(net.groups, taylor(net, split), strict=True))[:2]:
        expected = by_torch_pruning(graded(net, split), group.name, peer, READ)
        np.testing.assert_allclose(score, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_taylor_weight_is_what_torch_pruning_gives_where_a_filter_has_one_weight() -> None:
    torch.manual_seed(0)
    stem = nn.Conv2d(3, 6, 1, bias=False)
    with torch.no_grad():
        stem.weight[:, 1:] = 0  # so that the sum of absolute values is that of one weight
    model = nn.Sequential(stem, nn.ReLU(), nn.Conv2d(6, 4, 8), nn.Flatten())
    net, split = Supernet.of(model, torch.zeros(1, 3, 8, 8)), noise(TAYLOR_BATCH)
    peer = tp.importance.TaylorImportance(normalizer=None, multivariable=False)
    expected = by_torch_pruning(graded(net, split), "0", peer, MADE) ** 2
    np.testing.assert_allclose(taylor_weight(net, split)[0], expected, rtol=1e-3)


@pytest.mark.parametrize("importance", BOTH)
def test_gradients_are_the_same_on_every_device(importance: Importance, device: torch.device) -> None:
    net, split = residual(), noise(300)
    moved = Supernet.of(deepcopy(net.model).to(device), torch.zeros(1, 3, 8, 8))
    for here, there in zip(importance(net, split), importance(moved, split), strict=True):
        np.testing.assert_allclose(there, here, rtol=0.02, atol=0.02 * here.max())


def test_taylor_of_a_channel_that_nobody_listens_to_is_zero() -> None:
    net = residual()
    before = taylor(net, noise(100))
    with torch.no_grad():
        net.model.get_parameter("inner.weight")[:, 3] = 0
        net.model.get_parameter("down.weight")[:, 3] = 0
        net.model.get_parameter("head.weight")[:, 16:20] = 0
    stem, _, down = taylor(net, noise(100))
    assert (before[0][3] > 0, stem[3]) == (True, 0)
    assert (before[2][4] > 0, down[4]) == (True, 0)
    assert (stem > 0).sum() >= 4


@pytest.mark.parametrize("importance", BOTH)
def test_gradients_are_found_without_gradients_and_on_a_frozen_network(importance: Importance) -> None:
    net, split = residual(), noise(100)
    expected = importance(net, split)
    net.model.requires_grad_(False)
    with torch.no_grad():
        found = importance(net, split)
    assert all(map(np.array_equal, found, expected))


def test_a_weight_that_is_a_buffer_has_a_gate_too() -> None:
    model = nn.Sequential(FixedKernel(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = Supernet.of(model, torch.zeros(1, 3, 8, 8))
    assert all((score > 0).any() for importance in BOTH for score in importance(net, noise(50)))


@pytest.mark.parametrize("importance", BOTH)
def test_gradients_read_2000_images_in_8_batches(importance: Importance) -> None:
    split = drawn(TAYLOR_IMAGES + 500)
    importance(residual(), split)
    assert split.read == [250] * 8
