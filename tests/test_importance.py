from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data import Images
from secateur.models.atoms import FloatArray
from secateur.models.supernet import Supernet
from secateur.search.importance import TAYLOR_BATCH, Importance, Scores, l1, per_group, taylor


class Toy(nn.Module):
    """A residual block, a strided layer, and a linear head that reads four places of every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.inner, self.inner_norm = nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.back, self.back_norm = nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.down, self.down_norm = nn.Conv2d(8, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5)
        self.drop = nn.Dropout()
        self.head = nn.Linear(5 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.back_norm(self.back(F.relu(self.inner_norm(self.inner(x))))))
        x = F.max_pool2d(F.relu(self.down_norm(self.down(x))), 2)
        return torch.as_tensor(self.head(self.drop(x.flatten(1))))


READERS = {"stem": ["inner", "down"], "inner": ["back"], "down": ["head"]}  # who reads each group's channels


def toy(seed: int = 0) -> Supernet:
    torch.manual_seed(seed)
    model = Toy().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(torch.as_tensor(module.running_mean))
    return Supernet.of(model, torch.zeros(1, 3, 8, 8))


def noise(count: int, seed: int = 0) -> Images:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return Images(lambda chunks: (pixels[chunk] for chunk in chunks), torch.arange(count) % 4, (3, 8, 8))


def unreadable(count: int) -> Images:
    def read(chunks: object) -> Iterator[Tensor]:
        raise AssertionError("images were read")

    return Images(read, torch.arange(count) % 4, (3, 8, 8))


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
    """What ``taylor`` claims to be: |gradient of a gate at one|, for each batch and reader, summed."""
    widths = {group.name: group.width for group in net.groups}
    total = {name: np.zeros(width) for name, width in widths.items()}
    for images, labels, _ in split.batches(TAYLOR_BATCH):
        gates = {r: torch.ones(widths[g], requires_grad=True) for g, readers in READERS.items() for r in readers}
        with gated(net.model, gates):
            loss = F.cross_entropy(net.model(images), labels, reduction="sum")
        found = dict(zip(gates, torch.autograd.grad(loss, list(gates.values())), strict=True))
        for group, readers in READERS.items():
            for reader in readers:
                total[group] += found[reader].abs().numpy()
    return [total[group.name] for group in net.groups]


def filters(weight: Tensor) -> FloatArray:
    return np.array([one.abs().sum().item() for one in weight.detach().double()])


def test_the_toy_has_the_groups_that_the_readers_are_written_for() -> None:
    assert {group.name: group.width for group in toy().groups} == {"stem": 8, "inner": 6, "down": 5}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_taylor_is_the_gradient_of_a_gate_where_each_reader_reads(seed: int) -> None:
    net, split = toy(seed), noise(2 * TAYLOR_BATCH + 60, seed)  # three batches, the last one short
    for score, expected in zip(taylor(net, split), gate_gradients(net, split), strict=True):
        np.testing.assert_allclose(score, expected, rtol=1e-3, atol=1e-3 * expected.max())


def test_taylor_takes_absolute_values_batch_by_batch() -> None:
    net, split = toy(), noise(2 * TAYLOR_BATCH)
    first = next(split.batches(TAYLOR_BATCH)).indices
    labels = torch.ones(2 * TAYLOR_BATCH, dtype=torch.int64).index_fill(0, first, 0)
    split = replace(split, labels=labels)  # one class in each batch, so that gradients point opposite ways
    model, grads = deepcopy(net.model), []
    for images, labels, _ in split.batches(TAYLOR_BATCH):
        model.zero_grad()
        F.cross_entropy(model(images), labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
        weight = model.get_parameter("back.weight")
        grads.append((weight * torch.as_tensor(weight.grad)).sum((0, 2, 3)).detach().numpy())
    inner = taylor(net, split)[[group.name for group in net.groups].index("inner")]
    np.testing.assert_allclose(inner, np.abs(grads).sum(0), rtol=1e-3)
    assert (inner > 1.01 * np.abs(np.sum(grads, 0))).any()  # the sum of signed gradients is another thing


def test_taylor_is_the_same_on_every_device(device: torch.device) -> None:
    net, split = toy(), noise(300)
    moved = Supernet.of(deepcopy(net.model).to(device), net.example.to(device))
    for here, there in zip(taylor(net, split), taylor(moved, split), strict=True):
        np.testing.assert_allclose(there, here, rtol=0.02, atol=0.02 * here.max())


def test_taylor_of_a_channel_that_nobody_listens_to_is_zero() -> None:
    net = toy()
    before = taylor(net, noise(100))
    with torch.no_grad():
        net.model.get_parameter("inner.weight")[:, 3] = 0
        net.model.get_parameter("down.weight")[:, 3] = 0
        net.model.get_parameter("head.weight")[:, 16:20] = 0
    stem, _, down = taylor(net, noise(100))
    assert (before[0][3] > 0, stem[3]) == (True, 0)
    assert (before[2][4] > 0, down[4]) == (True, 0)
    assert (stem > 0).sum() >= 4


def test_taylor_works_without_gradients_and_on_a_frozen_network() -> None:
    net, split = toy(), noise(100)
    expected = taylor(net, split)
    net.model.requires_grad_(False)
    with torch.no_grad():
        found = taylor(net, split)
    assert all(map(np.array_equal, found, expected))


def test_taylor_does_not_depend_on_the_mode_of_the_model() -> None:
    net, split = toy(), noise(100)
    expected = taylor(net, split)
    net.model.train()
    assert all(map(np.array_equal, taylor(net, split), expected))


def test_l1_is_the_mean_over_the_layers_that_make_a_channel() -> None:
    net = toy()
    weight = net.model.get_parameter
    expected = {
        "stem": (filters(weight("stem.weight")) + filters(weight("back.weight"))) / 2,
        "inner": filters(weight("inner.weight")),
        "down": filters(weight("down.weight")),
    }
    for group, score in zip(net.groups, l1(net, unreadable(10)), strict=True):
        np.testing.assert_allclose(score, expected[group.name], rtol=1e-12)


def test_l1_counts_the_filters_of_a_depthwise_layer_among_the_makers() -> None:
    stem, depthwise = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=4)
    model = nn.Sequential(stem, depthwise, nn.Conv2d(4, 2, 1), nn.Flatten())
    net = Supernet.of(model, torch.zeros(1, 3, 3, 3))
    (score,) = l1(net, unreadable(10))
    np.testing.assert_allclose(score, (filters(stem.weight) + filters(depthwise.weight)) / 2, rtol=1e-12)


@pytest.mark.parametrize("importance", [l1, taylor])
@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_the_model_as_it_was(importance: Importance, training: bool) -> None:
    net = toy()
    net.model.train(training)
    net.model.get_submodule("inner").train(not training)
    net.model.get_parameter("down.weight").requires_grad_(False)
    head = net.model.get_parameter("head.weight")
    head.grad = torch.ones(4, 20)
    before = deepcopy(net.model)
    importance(net, noise(100))
    assert all(torch.equal(before.state_dict()[name], tensor) for name, tensor in net.model.state_dict().items())
    assert [m.training for m in net.model.modules()] == [m.training for m in before.modules()]
    for left, right in zip(before.parameters(), net.model.parameters(), strict=True):
        assert left.requires_grad == right.requires_grad
        assert (right.grad is None) == (right is not head)
    assert torch.equal(torch.as_tensor(head.grad), torch.ones(4, 20))


def test_normalised_scores_have_mean_one_and_keep_their_order() -> None:
    scores = [np.array([1.0, 3.0, 2.0]), np.array([1e6, 3e6])]
    normalised = per_group(scores)
    assert [each.tolist() for each in normalised] == [[0.5, 1.5, 1.0], [0.5, 1.5]]


def test_normalising_a_group_without_any_score_stays_finite() -> None:
    assert per_group([np.zeros(3)])[0].tolist() == [0, 0, 0]
