"""Weights that forward computes: removed channels are gone from them, and from the statistics taken of them."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from equality import assert_costs, assert_slims, gap, images, random_subnetwork, run
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from secateur.models.supernet import Supernet
from secateur.models.surgery.reference import reference
from secateur.models.surgery.slim import slim

Layer = Callable[[int, int], nn.Module]


class Kernel(nn.Module):
    """A convolution by a kernel that ``compute`` makes of its parameters."""

    def __init__(self, reads: int, makes: int, compute: Callable[["Kernel"], Tensor]) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(makes, reads, 3, 3)), nn.Parameter(torch.randn(makes))
        self.gain, self.shared = nn.Parameter(torch.rand(makes, 1, 1, 1)), nn.Parameter(torch.rand(()))
        self.row, self.point = (nn.Parameter(torch.randn(makes, reads, 1, n)) for n in (3, 1))
        self.up, self.down = nn.Parameter(torch.randn(makes, 2)), nn.Parameter(torch.randn(2, reads * 9))
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.compute(self), self.bias, padding=1)


def standardised(conv: Kernel) -> Tensor:
    mean, deviation = conv.weight.mean((1, 2, 3), keepdim=True), conv.weight.std((1, 2, 3), keepdim=True)
    return conv.gain * (conv.weight - mean) / (deviation + 1e-5)


def standardised_by_variance(conv: Kernel) -> Tensor:
    variance, mean = torch.var_mean(conv.weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
    fan = conv.weight[0].numel()
    return (conv.weight - mean) * (torch.rsqrt(torch.clamp(variance * fan, min=1e-4)) * conv.gain)


def standardised_by_batch_norm(conv: Kernel) -> Tensor:
    flat = conv.weight.reshape(1, len(conv.weight), -1)
    normed = F.batch_norm(flat, None, None, conv.gain.view(-1), training=True, momentum=0.0)
    return normed.reshape_as(conv.weight)


KERNELS: dict[str, Callable[[Kernel], Tensor]] = {
    "standardised": standardised,
    "standardised by variance": standardised_by_variance,
    "standardised by batch norm": standardised_by_batch_norm,
    "summed": lambda conv: conv.weight + F.pad(conv.row, (0, 0, 1, 1)) + F.pad(conv.point, (1, 1, 1, 1)),
    "summed from the smallest": lambda conv: F.pad(conv.point, (1, 1, 1, 1)) + conv.weight,
    "low rank": lambda conv: conv.weight + (conv.up @ conv.down).view_as(conv.weight),
    "low rank first": lambda conv: 0.5 * (conv.up @ conv.down).view(conv.weight.shape) + conv.weight,
    "mixed": lambda conv: conv.weight * conv.shared.sigmoid() + conv.weight.flip(-1) * (1 - conv.shared.sigmoid()),
    "scaled by the largest": lambda conv: torch.round(conv.weight.tanh() / conv.weight.tanh().abs().max() * 127) / 127,
    "one bit": lambda conv: torch.where(conv.weight >= 0, conv.weight.abs().mean(), -conv.weight.abs().mean()),
    "of unit length": lambda conv: F.normalize(conv.weight.flatten(1), dim=1).view_as(conv.weight),
    "weight norm by hand": lambda conv: torch._weight_norm(conv.weight, conv.gain, 0),
}
PARAMETRISED: dict[str, Layer] = {
    "weight norm": lambda n, m: parametrizations.weight_norm(nn.Conv2d(n, m, 3, padding=1)),
    "weight norm of inputs": lambda n, m: parametrizations.weight_norm(nn.Conv2d(n, m, 3, padding=1), dim=1),
    "without a bias": lambda n, m: parametrizations.weight_norm(nn.Conv2d(n, m, 3, padding=1, bias=False)),
    "spectral norm": lambda n, m: parametrizations.spectral_norm(nn.Conv2d(n, m, 3, padding=1)),
    "transposed": lambda n, m: parametrizations.weight_norm(nn.ConvTranspose2d(n, m, 3, 1, 1), dim=1),
    "transposed, spectral": lambda n, m: parametrizations.spectral_norm(nn.ConvTranspose2d(n, m, 3, 1, 1), dim=1),
    "pointwise": lambda n, m: PerPixel(parametrizations.weight_norm(nn.Linear(n, m))),
}


class PerPixel(nn.Module):
    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x.movedim(1, -1)).movedim(-1, 1)
        return out


def last(reads: int, makes: int) -> nn.Module:
    return nn.Conv2d(reads, makes, 1)


class Row(nn.Sequential):
    """Layers with ReLU between them; the last makes the output."""

    def __init__(self, *layers: Layer) -> None:
        widths = [3, *(6 + i for i in range(len(layers))), 5]
        made = [make(*widths[i : i + 2]) for i, make in enumerate((*layers, last))]
        super().__init__(*(each for layer in made for each in (layer, nn.ReLU())))


def supernet(*layers: Layer) -> Supernet:
    torch.manual_seed(0)
    return Supernet.of(Row(*layers).eval(), torch.zeros(1, 3, 6, 6))


def kernel(compute: Callable[[Kernel], Tensor]) -> Layer:
    return lambda n, m: Kernel(n, m, compute)


@pytest.mark.parametrize("layer", PARAMETRISED.values(), ids=PARAMETRISED)
def test_parametrised_weights_are_weights(layer: Layer) -> None:
    net = supernet(layer, layer, layer)
    assert [group.width for group in net.groups] == [6, 7, 8]
    assert_slims(net)


@pytest.mark.parametrize("name", KERNELS)
def test_computed_kernels_are_weights(name: str) -> None:
    net = supernet(*[kernel(KERNELS[name])] * 3)
    assert [group.width for group in net.groups] == [6, 7, 8]
    assert_slims(net)


def test_every_tensor_that_a_kernel_is_computed_of_reads_or_is_made() -> None:
    net = supernet(*[kernel(KERNELS["summed"])] * 2)
    assert {(m.tensor, m.dim) for m in net.groups[0].members if m.reads} == {
        (f"2.{name}", 1) for name in ("weight", "row", "point")
    }
    assert {(m.tensor, m.dim) for m in net.groups[0].members if not m.reads} == {
        (f"0.{name}", 0) for name in ("weight", "row", "point", "bias")
    }


class Rounded(nn.Conv2d):
    """Weights in steps, of a size that each filter has of its own."""

    steps: Tensor

    def __init__(self, reads: int, makes: int) -> None:
        super().__init__(reads, makes, 3, padding=1)
        self.register_buffer("steps", torch.rand(self.out_channels) / 9)

    def forward(self, x: Tensor) -> Tensor:
        zeros = torch.zeros_like(self.steps, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(self.weight, self.steps, zeros, 0, -8, 7)
        return F.conv2d(x, weight, self.bias, padding=1)


def test_quantised_kernels_slim_rightly_in_single_precision() -> None:
    net = supernet(Rounded, Rounded)
    assert [group.width for group in net.groups] == [6, 7]
    assert_equal_in_single_precision(net)


def test_a_network_in_training_for_int8_can_be_pruned() -> None:
    quantisation = pytest.importorskip("torch.ao.quantization")
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU())
    model = nn.Sequential(quantisation.QuantStub(), body, nn.Conv2d(6, 5, 1), quantisation.DeQuantStub()).train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.qconfig = quantisation.get_default_qat_qconfig("fbgemm")
        model = quantisation.prepare_qat(model)
    model(torch.randn(4, 3, 8, 8))
    net = Supernet.of(model.eval(), torch.zeros(1, 3, 8, 8))
    assert [group.width for group in net.groups] == [8, 6]
    assert_equal_in_single_precision(net)


def assert_equal_in_single_precision(net: Supernet) -> None:
    for seed in range(3):
        subnetwork, inputs = random_subnetwork(net, seed), images(net, 3)
        assert_costs(net, subnetwork, device="cpu")
        expected = reference(net, subnetwork, *inputs)
        assert gap(run(copy.deepcopy(slim(net, subnetwork)), inputs), expected) < 1e-5


def test_a_parametrised_layer_says_how_wide_it_is_when_narrowed() -> None:
    net = supernet(PARAMETRISED["without a bias"], PARAMETRISED["without a bias"])
    subnetwork = random_subnetwork(net, 0)
    layer = slim(net, subnetwork).get_submodule("2")
    assert isinstance(layer, nn.Conv2d)
    assert [layer.in_channels, layer.out_channels] == subnetwork.widths.tolist()


def test_a_classifier_by_cosine_can_read_fewer_features() -> None:
    class Cosine(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 16 * F.linear(F.normalize(x.mean((2, 3))), F.normalize(self.weight))

    torch.manual_seed(0)
    net = Supernet.of(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Cosine(8, 5)).eval(), torch.zeros(1, 3, 8, 8))
    assert [group.width for group in net.groups] == [8]
    assert_slims(net)


class Placed(nn.Module):
    """Adds to each place what layers make of its coordinates, which are a buffer."""

    table: Tensor

    def __init__(self, table: Tensor, layers: nn.Module) -> None:
        super().__init__()
        self.register_buffer("table", table)
        self.first, self.layers, self.last = nn.Conv2d(3, 8, 3, padding=1), layers, nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        placed = self.layers(self.table * 0.5)
        placed = placed.T.view(1, 8, 6, 6) if placed.ndim == 2 else placed
        return torch.as_tensor(self.last(F.relu(self.first(x) + placed)))


@pytest.mark.parametrize(
    ("table", "layers"),
    [
        (torch.randn(36, 2), nn.Sequential(nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, 8))),
        (torch.randn(1, 2, 6, 6), nn.Sequential(nn.Conv2d(2, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 8, 1))),
    ],
    ids=["linear", "convolution"],
)
def test_layers_that_read_a_buffer_have_widths_of_their_own(table: Tensor, layers: nn.Module) -> None:
    torch.manual_seed(0)
    net = Supernet.of(Placed(table, layers).eval(), torch.zeros(1, 3, 6, 6))
    assert ("layers.0", 12) in {(group.name, group.width) for group in net.groups}
    assert_slims(net)


DRAWN = [*PARAMETRISED.values(), *map(kernel, KERNELS.values())]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(DRAWN), min_size=2, max_size=4))
def test_computed_weights_of_every_kind_follow_each_other(layers: list[Layer]) -> None:
    net = supernet(*layers)
    assert [group.width for group in net.groups] == [6 + i for i in range(len(layers))]
    assert_slims(net, subnetworks=2)
