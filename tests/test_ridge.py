"""Refitted weights against least squares solved another way."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from toys import (
    TOYS,
    Concat,
    Flatten,
    Grouped,
    Multiplier,
    NoNorm,
    SqueezeExcite,
    SqueezeExciteLinear,
    Toy,
    conv,
)

from secateur.models.compensation import gram as gram_module
from secateur.models.compensation.gram import grams
from secateur.models.compensation.ridge import RIDGE, refit, solve
from secateur.models.compensation.sequential import refit_sequentially
from secateur.models.compensation.targets import FAINT
from secateur.models.split import Batch, Views
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.surgery.places import kept_places
from secateur.models.surgery.slim import slim
from secateur.models.tasks.classification import Classification
from secateur.models.zoo.mobilenetv2 import InvertedResidual

ROWS = gram_module.ROWS
EXACT = 1e-12  # a ridge that leaves float64 the plain least-squares solution


@pytest.fixture(autouse=True)
def _every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_module, "ROWS", 10**6)


class Noise:
    """Random images, of no class."""

    content = ""
    task = Classification()

    def __init__(self, count: int, dtype: torch.dtype = torch.float64) -> None:
        self.images = torch.randn(count, 3, 8, 8, dtype=dtype, generator=torch.Generator().manual_seed(1))
        self.labels = torch.zeros(count, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, limit: int | None = None, view: int | None = None) -> Iterator[Batch]:
        for indices in torch.split(torch.arange(min(len(self), limit or len(self))), size):
            yield Batch(self.images[indices], self.labels[indices], indices)

    def steps(self, size: int) -> int:
        raise NotImplementedError

    def epoch(self, size: int, seed: int, views: int = 1, start: int = 0, **other: object) -> Iterator[Views]:
        raise NotImplementedError


def supernet(make: Callable[[], nn.Module], seed: int = 0) -> Supernet:
    torch.manual_seed(seed)
    return Supernet.of(make().double().eval(), torch.zeros(1, 3, 8, 8, dtype=torch.float64), check=False)


def random_subnetwork(net: Supernet, seed: int) -> Subnetwork:
    g = np.random.default_rng(seed)
    chosen = [g.choice(x.width, g.integers(1, x.width + 1), replace=False) for x in net.groups]
    return Subnetwork(tuple(tuple(np.sort(channels).tolist()) for channels in chosen))


def without(net: Supernet, group: int, channels: set[int]) -> Subnetwork:
    """Only this group is narrowed, by these channels."""
    kept = list(net.dense.kept)
    kept[group] = tuple(c for c in kept[group] if c not in channels)
    return Subnetwork(tuple(kept))


def answers(model: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return list(tree_leaves(model.eval()(images)))


def rows_of(layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer reads, unfolded by torch. Shape: → (groups, channels of a group, kernel, n)"""
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1]).T[None, :, None]
    assert isinstance(layer, nn.Conv2d)
    patches = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
    return patches.movedim(1, 0).flatten(1).reshape(layer.groups, x.shape[1] // layer.groups, -1, patches[:, 0].numel())


def inputs_of(model: nn.Module, names: list[str], images: Tensor) -> dict[str, Tensor]:
    """What each layer reads, as ``rows_of`` gives it."""
    seen: dict[str, Tensor] = {}

    def hear(name: str) -> None:
        layer = model.get_submodule(name)
        layer.register_forward_pre_hook(lambda _, given: seen.update({name: rows_of(layer, given[0])}))

    model = deepcopy(model).eval()
    for name in names:
        hear(name)
    answers(model, images)
    return seen


def least_squares(rows: Tensor, targets: Tensor, constant: bool) -> Tensor:
    """The smallest solution; the constant's column is left out. Shape: rows (d, n), targets (made, n) → (made, d)"""
    ones = torch.ones(int(constant), rows.shape[1], dtype=rows.dtype)
    solution: Tensor = torch.linalg.lstsq(torch.cat([rows, ones]).T, targets.T, driver="gelsd").solution.T
    return solution[:, : len(rows)]


@pytest.mark.parametrize("toy", [Concat, SqueezeExcite, SqueezeExciteLinear, Grouped, Multiplier, Flatten, NoNorm])
def test_refitted_weights_equal_a_direct_least_squares_solution(toy: type[Toy]) -> None:
    net, noise = supernet(toy), Noise(300)
    for seed in range(3):
        subnetwork = random_subnetwork(net, seed)
        places = kept_places(net, subnetwork)
        model = refit(net, subnetwork, grams(net, noise, images=300), EXACT)
        names = [n for n, m in net.model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        names = [n for n in names if 1 in places.get(f"{n}.weight", {})]
        assert names
        for name, rows in inputs_of(net.model, names, noise.images).items():
            layer: Any = net.model.get_submodule(name)
            dims = places[f"{name}.weight"]
            weight = layer.weight.detach().reshape(len(rows), -1, *rows.shape[1:3])
            stays = torch.from_numpy(dims[1])
            outputs, same = (
                torch.einsum("gock,gckn->gon", w, r) for w, r in ((weight, rows), (weight[:, :, stays], rows[:, stays]))
            )
            missing = zip(rows[:, stays].flatten(1, 2), outputs - same, strict=True)
            change = torch.cat([least_squares(*each, layer.bias is not None) for each in missing])
            expected = (weight[:, :, stays].flatten(2).flatten(0, 1) + change)[
                torch.from_numpy(dims.get(0, np.arange(len(change))))
            ]
            got = model.get_parameter(f"{name}.weight").detach()
            assert torch.allclose(got.flatten(1), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize("in_sequence", [False, True])
def test_every_structure_can_be_refitted_down_to_one_channel_a_group(toy: type[Toy], in_sequence: bool) -> None:
    net, noise = supernet(toy), Noise(20)
    known = grams(net, noise)
    for kept in [*(random_subnetwork(net, seed).kept for seed in range(2)), tuple((0,) for _ in net.groups)]:
        subnetwork = Subnetwork(kept)
        model = refit(net, subnetwork, known)
        if in_sequence:
            model = refit_sequentially(net, subnetwork, known, noise)
        plain = slim(net, subnetwork)
        assert {n: t.shape for n, t in model.state_dict().items()} == {
            n: t.shape for n, t in plain.state_dict().items()
        }
        assert all(t.isfinite().all() for t in model.state_dict().values())
        assert all(out.isfinite().all() for out in answers(model, noise.images))


@pytest.mark.parametrize("toy", TOYS)
def test_nothing_removed_changes_no_weight(toy: type[Toy]) -> None:
    net, noise = supernet(toy), Noise(20)
    model = refit(net, net.dense, grams(net, noise))
    assert all(torch.equal(t, net.model.state_dict()[name]) for name, t in model.state_dict().items())


class Twins(nn.Module):
    """Channels 0 and 1 of the first layer are the same, and so is what a depthwise layer makes of them."""

    def __init__(self, middle: Callable[[], nn.Module], reads: int = 8) -> None:
        super().__init__()
        self.first, self.depthwise = conv(3, 8), conv(8, 8, groups=8)
        self.middle, self.head = middle(), nn.Conv2d(5, 4, 1)
        for layer in (self.first, self.depthwise):
            for tensor in (layer.weight, layer.bias):
                assert tensor is not None
                tensor.data[1] = tensor.data[0]

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.depthwise(F.relu(self.first(x))))
        out: Tensor = self.head(F.relu(self.middle(x)))
        return out


class Turned(nn.Module):
    """A matrix that is multiplied from the right as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        return (x.movedim(1, -1) @ self.matrix).movedim(-1, 1)


class Branches(nn.Module):
    """Two readers side by side, one strided and dilated with a kernel that is not square."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.plain = nn.Conv2d(8, 5, (3, 1), (1, 2), (2, 0), (2, 1)), nn.Conv2d(8, 5, 1, stride=(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.wide(x) + self.plain(x)
        return out


@pytest.mark.parametrize(
    "middle", [lambda: conv(8, 5), lambda: nn.Conv2d(8, 5, 3, bias=False), Turned, Branches, lambda: nn.Conv2d(8, 5, 1)]
)
@pytest.mark.parametrize("in_sequence", [False, True])
def test_a_channel_that_another_one_repeats_is_not_missed(middle: Callable[[], nn.Module], in_sequence: bool) -> None:
    net, noise = supernet(lambda: Twins(middle)), Noise(100)
    subnetwork, known = without(net, 0, {1}), grams(net, noise)
    model = refit(net, subnetwork, known, 1e-9)
    if in_sequence:
        model = refit_sequentially(net, subnetwork, known, noise, ridges=[1e-9])
    (expected,), (raw,), (got,) = (answers(m, noise.images) for m in (net.model, slim(net, subnetwork), model))
    assert (raw - expected).abs().max() > 1e-3
    assert (got - expected).abs().max() < 1e-5


def test_an_inverted_residual_block_loses_less_with_batch_norm_taking_up_the_means() -> None:
    block = nn.Sequential(InvertedResidual(3, 4, 4, 1), nn.Conv2d(4, 5, 1))
    net, noise = supernet(lambda: block), Noise(200)
    known, name = grams(net, noise), "0.project.conv.weight"
    assert known[name].normed
    subnetwork = without(net, 0, {2, 5, 7, 8})
    model = refit(net, subnetwork, known, EXACT)
    rows = inputs_of(net.model, ["0.project.conv"], noise.images)["0.project.conv"][0, :, 0]  # (12, n)
    rows = rows - rows.mean(1, keepdim=True)
    kept = torch.tensor(subnetwork.kept[0])
    weight = net.model.get_parameter(name).detach().flatten(1)
    expected = least_squares(rows[kept], weight @ rows, constant=False)
    assert torch.allclose(model.get_parameter(name).flatten(1), expected, atol=1e-5)


def test_the_defaults_are_those_of_the_benchmarks() -> None:
    assert {
        "ridge, of the mean diagonal": RIDGE,
        "rows a column": ROWS,
        "images of the Grams": gram_module.IMAGES,
        "columns of a block": gram_module.WIDEST,
        "faint batch norm, of the largest weight": FAINT,
    } == {
        "ridge, of the mean diagonal": 1e-3,
        "rows a column": 32,
        "images of the Grams": 1000,
        "columns of a block": 4608,
        "faint batch norm, of the largest weight": 1e-2,
    }


def test_the_ridge_is_a_share_of_the_mean_diagonal_and_spares_what_lies_behind_the_columns() -> None:
    among = torch.diag(torch.tensor([2.0, 4.0, 1.0], dtype=torch.float64))[None]  # two columns, and the mean's row
    across = torch.tensor([[[6.0, 8.0, 5.0]]], dtype=torch.float64)
    padded = torch.tensor([2 + 0.1 * 3, 4 + 0.1 * 3, 1], dtype=torch.float64)
    assert torch.allclose(solve(across, among, 2, ridge=0.1), across / padded)


def test_the_ridge_grows_until_the_moments_are_positive_definite() -> None:
    among = torch.tensor([[[1.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    across = torch.tensor([[[1.0, 1.0]]], dtype=torch.float64)
    assert torch.allclose(solve(across, among, 2, ridge=0.0), across / 2.01)  # none is too little: 1e-2 is taken
    assert torch.equal(solve(across, 0 * among, 2, ridge=0.1), 0 * across)


@pytest.mark.parametrize("ridge", [EXACT, RIDGE, 1.0])
def test_a_channel_that_never_changes_goes_into_the_bias(ridge: float) -> None:
    net, noise = supernet(lambda: Twins(lambda: nn.Conv2d(8, 5, 1))), Noise(50)
    with torch.no_grad():
        net.model.get_parameter("depthwise.weight")[3] = 0
        net.model.get_parameter("depthwise.bias")[3] = 2
    model = refit(net, without(net, 0, {3}), grams(net, noise), ridge)
    gained = model.get_parameter("middle.bias") - net.model.get_parameter("middle.bias")
    assert torch.allclose(gained, 2 * net.model.get_parameter("middle.weight")[:, 3, 0, 0])


def test_dead_inputs_leave_the_inherited_weights() -> None:
    net, noise = supernet(NoNorm), Noise(10)
    with torch.no_grad():
        net.model.get_parameter("stem.weight").zero_()
        net.model.get_parameter("stem.bias").zero_()
    subnetwork, known = without(net, 0, {0, 1}), grams(net, noise)
    for model in (refit(net, subnetwork, known), refit_sequentially(net, subnetwork, known, noise)):
        assert torch.equal(model.get_parameter("conv.weight"), net.model.get_parameter("conv.weight")[:, 2:])


@pytest.mark.parametrize("in_sequence", [False, True])
def test_a_matrix_in_blocks_still_loses_less_than_one_that_is_not_refitted(
    in_sequence: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gram_module, "WIDEST", 20)
    net, noise = supernet(NoNorm), Noise(100)
    known = grams(net, noise)
    assert [block.shape for block in known["conv.weight"].blocks] == [(1, 17, 17)] * 4 + [(1, 9, 9)]
    subnetwork = without(net, 0, {1, 4, 6})
    model = refit(net, subnetwork, {"conv.weight": known["conv.weight"]})
    if in_sequence:
        model = refit_sequentially(net, subnetwork, {"conv.weight": known["conv.weight"]}, noise)
    (expected,), (raw,), (got,) = (answers(m, noise.images) for m in (net.model, slim(net, subnetwork), model))
    assert (got - expected).square().mean() < 0.9 * (raw - expected).square().mean()


def test_the_dense_network_stays_as_it_was() -> None:
    net, noise = supernet(Concat), Noise(20)
    net.model.train()
    before = deepcopy(net.model.state_dict())
    known = grams(net, noise)
    refit_sequentially(net, random_subnetwork(net, 0), known, noise)
    assert net.model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.model.state_dict().items())


def test_half_precision_is_refitted_in_single(device: torch.device) -> None:
    torch.manual_seed(0)
    model = Twins(lambda: conv(8, 5)).to(device, torch.bfloat16).eval()
    net = Supernet.of(model, torch.zeros(1, 3, 8, 8, dtype=torch.bfloat16, device=device), check=False)
    noise = Noise(50, torch.bfloat16)
    known, subnetwork = grams(net, noise), without(net, 0, {1})
    assert known["middle.weight"].blocks[0].dtype == torch.float32
    for each in (refit(net, subnetwork, known), refit_sequentially(net, subnetwork, known, noise)):
        assert each.get_parameter("middle.weight").dtype == torch.bfloat16
        (got,), (expected,) = answers(each, noise.images.to(device)), answers(net.model, noise.images.to(device))
        assert (got - expected).abs().max() < 0.05 * expected.abs().max()
