from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import slim
from secateur.models.zoo.mobilenetv2 import mobilenetv2
from secateur.models.zoo.resnet import resnet20, resnet56
from secateur.models.zoo.vgg import vgg11_bn

MAKES = [resnet20, resnet56, vgg11_bn, mobilenetv2]


def supernet(make: Callable[[], nn.Module], size: int = 32) -> Supernet:
    return Supernet.of(make(), torch.zeros(1, 3, size, size))


def three_by_three() -> nn.Module:
    """A 3x3 convolution from 2 to 4 channels on 8x8 pixels, and layers around it."""
    return nn.Sequential(
        nn.Conv2d(3, 2, 1, bias=False),
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(4 * 8 * 8, 5),
    )


@pytest.fixture(scope="module")
def toy() -> Supernet:
    return supernet(three_by_three, 8)


@pytest.fixture(scope="module")
def resnet() -> Supernet:
    return supernet(resnet20)


def test_macs_of_a_three_by_three_convolution_are_the_written_out_product(toy: Supernet) -> None:
    reads, makes = 2, 4
    stem = 8 * 8 * 3 * reads
    convolution = 8 * 8 * 3 * 3 * reads * makes
    linear = makes * 8 * 8 * 5
    assert convolution == 4608
    assert toy.space.costs.macs(np.array([reads, makes])) == stem + convolution + linear


def test_macs_of_the_narrowed_convolution_are_too(toy: Supernet) -> None:
    assert toy.space.costs.macs(np.array([1, 3])) == 64 * 3 * 1 + 64 * 9 * 1 * 3 + 3 * 64 * 5


def test_parameters_are_weights_biases_and_batch_norm_without_running_statistics(toy: Supernet) -> None:
    for reads, makes in [(2, 4), (1, 3), (2, 1)]:
        written_out = 3 * reads + 9 * reads * makes + 2 * makes + (makes * 64 * 5 + 5)
        assert toy.space.costs.parameters(np.array([reads, makes])) == written_out


@pytest.mark.parametrize("make", MAKES)
def test_costs_are_those_of_the_slimmed_network_to_the_last_multiplication(make: Callable[[], nn.Module]) -> None:
    net = supernet(make)
    g = np.random.default_rng(0)
    for _ in range(2):
        kept = [g.choice(x.width, g.integers(1, x.width + 1), replace=False) for x in net.groups]
        subnetwork = Subnetwork(tuple(tuple(np.sort(channels).tolist()) for channels in kept))
        slimmed = slim(net, subnetwork).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            slimmed(net.examples[0])
        assert counter.get_total_flops() == 2 * net.macs(subnetwork)
        assert sum(p.numel() for p in slimmed.parameters()) == net.parameters(subnetwork)


@pytest.mark.parametrize("make", MAKES)
def test_dense_costs_are_those_of_the_model(make: Callable[[], nn.Module]) -> None:
    net = supernet(make)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.model.eval()(net.examples[0])
    assert counter.get_total_flops() == 2 * net.space.costs.macs(net.space.dense)
    assert sum(p.numel() for p in net.model.parameters()) == net.space.costs.parameters(net.space.dense)


def test_macs_agree_with_fvcore_but_for_what_it_counts_of_batch_norm(resnet: Supernet) -> None:
    analysis = pytest.importorskip("fvcore.nn").FlopCountAnalysis(resnet.model.eval(), resnet.examples[0])
    counted = analysis.unsupported_ops_warnings(False).by_operator()
    assert counted["conv"] + counted["linear"] == resnet.space.costs.macs(resnet.space.dense)


def test_leading_axes_are_batched(resnet: Supernet) -> None:
    costs, dense = resnet.space.costs, resnet.space.dense
    widths = np.random.default_rng(0).integers(1, dense + 1, (5, 7, len(dense)))
    for cost in (costs.macs, costs.parameters, costs.memory):
        batched = cost(widths)
        assert batched.shape == (5, 7)
        assert batched.dtype == np.int64
        assert all(batched[index] == cost(widths[index]) for index in np.ndindex(5, 7))


@given(st.data())
def test_narrowing_a_group_always_lowers_both_costs(resnet: Supernet, data: st.DataObject) -> None:
    dense = resnet.space.dense
    widths = np.array([data.draw(st.integers(2, int(width))) for width in dense])
    group = data.draw(st.integers(0, len(dense) - 1))
    narrower = widths - np.eye(len(dense), dtype=np.int64)[group]
    for cost in (resnet.space.costs.macs, resnet.space.costs.parameters):
        assert cost(narrower) < cost(widths)


@pytest.mark.parametrize("kind", ["macs", "parameters"])
def test_slopes_are_the_differences_that_a_channel_makes(kind: str, resnet: Supernet) -> None:
    form, dense = getattr(resnet.space.costs, kind), resnet.space.dense
    widths = np.random.default_rng(0).integers(2, dense)
    each = np.eye(len(dense), dtype=np.int64)
    np.testing.assert_allclose(form.gradient(widths), (form(widths + each) - form(widths - each)) / 2)


def test_macs_of_one_image_do_not_depend_on_the_pixels_but_on_their_number() -> None:
    small, large = supernet(resnet20, 16), supernet(resnet20, 32)
    assert np.array_equal(small.space.dense, large.space.dense)
    classifier = 64 * 10
    dense = large.space.dense
    assert large.space.costs.macs(dense) - classifier == 4 * (small.space.costs.macs(dense) - classifier)
    assert large.space.costs.parameters(dense) == small.space.costs.parameters(dense)


def test_each_term_is_the_macs_of_one_product(toy: Supernet) -> None:
    costs = toy.space.costs
    assert costs.products == ("0.weight", "1.weight", "4.weight")
    assert (costs.macs.scale * costs.macs.factors(toy.space.dense)).tolist() == [384, 4608, 1280]


def test_costs_are_exact_far_beyond_single_precision() -> None:
    net = Supernet.of(
        nn.Sequential(nn.Conv2d(3, 4097, 3), nn.Conv2d(4097, 3, 3)).to("meta"), torch.zeros(1, 3, 130, 130)
    )
    written_out = (128 * 128 + 126 * 126) * 27 * 4097
    assert net.space.costs.macs(np.array([4097])) == written_out > 2**31


def test_memory_is_what_lives_at_once_in_the_worst_moment(toy: Supernet) -> None:
    image = 3 * 64 * 4
    for reads, makes in [(2, 4), (2, 1), (1, 4)]:
        first, second = reads * 64 * 4, makes * 64 * 4
        moments = [image + first, first + second, second + second, second + 5 * 4]  # the norm makes a tensor of its own
        assert toy.space.costs.memory(np.array([reads, makes])) == max(moments)


@pytest.mark.parametrize("make", MAKES)
def test_memory_is_that_of_the_slimmed_network(make: Callable[[], nn.Module]) -> None:
    net = supernet(make)
    g = np.random.default_rng(1)
    for _ in range(2):
        kept = [g.choice(x.width, g.integers(1, x.width + 1), replace=False) for x in net.groups]
        subnetwork = Subnetwork(tuple(tuple(np.sort(channels).tolist()) for channels in kept))
        again = Supernet.of(slim(net, subnetwork), net.examples, check=False)
        assert net.memory(subnetwork) == again.memory(again.dense)


def test_operations_that_cost_nothing_are_listed(resnet: Supernet) -> None:
    assert resnet.space.costs.uncounted == ("add", "mean", "native_batch_norm", "relu")
