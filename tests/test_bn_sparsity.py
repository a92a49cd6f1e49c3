"""Batch-norm scales and their price."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from lessons import pupil, random_norms
from torch import nn

from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import slim
from secateur.transfer.joint.bn_sparsity import ALIVE, BnSparsity, Scales, strengths_of


def chain() -> Supernet:
    """Convolutions of 6, 8 and 10 filters on 8x8, 4x4 and 4x4 pixels."""
    layers: list[nn.Module] = []
    for reads, writes, stride in ((3, 6, 1), (6, 8, 2), (8, 10, 1)):
        layers += [nn.Conv2d(reads, writes, 3, stride, 1, bias=False), nn.BatchNorm2d(writes), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 4))
    random_norms(model)
    return Supernet.of(model.eval(), torch.zeros(1, 3, 8, 8), least=0)


def scales(net: Supernet) -> Scales:
    return Scales(net, slim(net, net.dense))


def test_the_price_is_that_of_alive_channels_on_both_sides_of_each_layer() -> None:
    net = chain()
    found = scales(net)
    with torch.no_grad():
        found.tensors["1.weight"][:2] = 0
        found.tensors["4.weight"][1] = 0
    gammas = [found.tensors[name].detach().abs().double() for name in ("1.weight", "4.weight", "7.weight")]
    alive, sizes = [4, 7, 10], [gamma.sum() for gamma in gammas]
    costs = [9 * 64, 9 * 16, 9 * 16, 1]  # of one channel on both sides; the image and the classes have no scale
    expected = costs[0] * 3 * sizes[0] + costs[3] * 4 * sizes[2]
    expected += sum(costs[i] * (alive[i - 1] * sizes[i] + alive[i] * sizes[i - 1]) for i in (1, 2))
    price = BnSparsity(found, net.space.costs.macs, np.ones(3))
    assert price().item() * price.average == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("constraint", ["macs", "parameters"])
@pytest.mark.parametrize("make", [chain, pupil])
def test_over_all_costs_a_scale_of_1_is_pulled_by_1_on_average(make: Callable[[], Supernet], constraint: str) -> None:
    net = make()
    found, form = scales(net), getattr(net.space.costs, constraint)
    with torch.no_grad():
        for name in (member.tensor for members in found.members for member in members):
            found.tensors[name].fill_(1)
    BnSparsity(found, form, np.ones(len(net.groups)))().backward()  # type: ignore[no-untyped-call]
    prices, total, pulled = form.gradient(net.space.dense), 0.0, 0.0
    for g in found.groups:
        for member in found.members[g]:
            pull = found.tensors[member.tensor].grad
            assert pull is not None
            costs = float(prices[g]) * len(pull) / len(found.members[g])
            total, pulled = total + costs, pulled + costs * float(pull.mean())
    assert pulled / total == pytest.approx(1, rel=1e-5)


def test_a_channel_is_alive_while_one_of_its_scales_is() -> None:
    net = pupil()
    found = scales(net)
    assert found.groups == [0, 1]  # the hidden linear layer has no batch norm
    names = ["norm.weight", "norm3.weight"]  # of the residual sum
    with torch.no_grad():
        for name in names:
            found.tensors[name][:] = torch.linspace(0.3, 1, 8)
        found.tensors[names[0]][0] = 0
        found.tensors[names[1]][1] = 0
        for name in names:
            found.tensors[name][2] = ALIVE / 2
    assert found.subnetwork().kept == ((0, 1, 3, 4, 5, 6, 7), tuple(range(10)), tuple(range(16)))
    both = torch.stack([found.tensors[name] for name in names])
    torch.testing.assert_close(found.of(0), both.square().mean(0).sqrt())


def test_strengths_are_those_of_the_first_pattern_that_fits() -> None:
    net = pupil()
    assert strengths_of(net, 2.0, {}).tolist() == [2, 2, 2]
    assert strengths_of(net, 2.0, {"conv": 3, "*": 0.5}).tolist() == [1, 6, 1]
    with pytest.raises(SecateurError, match="no channel group is called 'layer1"):
        strengths_of(net, 2.0, {"layer1.*": 3})


def test_what_may_not_go_has_no_price() -> None:
    net = pupil()
    pinned = Supernet.of(net.model, torch.zeros(1, 3, 8, 8), least={"conv": 10, "stem": 0.5})
    assert scales(net).groups == [0, 1]
    assert scales(pinned).groups == [0]


def test_all_scales_may_be_nothing() -> None:
    net = chain()
    found = scales(net)
    with torch.no_grad():
        for g in range(3):
            for member in found.members[g]:
                found.tensors[member.tensor].zero_()
    price = BnSparsity(found, net.space.costs.macs, np.ones(3))()
    assert price.isfinite()
    slopes = torch.autograd.grad(price, [found.tensors[f"{n}.weight"] for n in (1, 4, 7)])
    assert all((slope == 0).all() for slope in slopes)
    assert found.subnetwork().widths.tolist() == [1, 1, 1]
