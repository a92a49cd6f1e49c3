"""Masks that open and close: their gradient, and that a closed channel is as good as gone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from lessons import Pupil, pupil, random_norms
from torch import Tensor, nn

from secateur.models.supernet import Supernet
from secateur.models.zoo.registry import constructor
from secateur.transfer.joint.masks import Masked, gate


def masked(net: Supernet, spread: float = 1.0, seed: int = 0) -> Masked:
    """Every group masked, by masks far from 0."""
    found = Masked(net, range(len(net.groups)), seed)
    for mask in found.masks:
        mask.data *= spread / 1e-3
    return found.eval()


@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=9))
def test_a_gate_is_0_or_1_with_the_gradient_of_the_surrogate(values: list[float]) -> None:
    mask = torch.tensor(values, requires_grad=True)
    opened = (mask > 0).float()
    gates = gate(mask, opened)
    assert (gates - opened).abs().max() <= 1e-6
    (slope,) = torch.autograd.grad(gates.sum(), mask)
    torch.testing.assert_close(slope, (1 - mask.detach().abs()).clamp(min=0), atol=1e-6, rtol=0)


def test_a_mask_gets_the_gradient_of_a_factor_on_its_channels() -> None:
    net, x = pupil(), torch.randn(5, 3, 8, 8)
    model = masked(net, 0.3)
    (g,) = [g for g, group in enumerate(net.groups) if group.name == "conv"]
    factor = torch.ones(10, requires_grad=True)
    student = model.student
    assert isinstance(student, Pupil)
    hook = student.norm2.register_forward_hook(lambda _, __, out: F.relu(out) * factor[:, None, None])
    found = torch.autograd.grad(model(x).square().sum(), [model.masks[g], factor])
    hook.remove()
    opened = model.gates()[g].detach()
    expected = found[1] * (1 - model.masks[g].detach().abs())
    torch.testing.assert_close(found[0][opened == 1], expected[opened == 1])


def test_a_closed_channel_opens_where_the_loss_wants_it() -> None:
    net, x = pupil(), torch.randn(5, 3, 8, 8)
    model = masked(net)
    for mask in model.masks:
        mask.data.fill_(0.5)
    (g,) = [g for g, group in enumerate(net.groups) if group.name == "stem"]
    model.masks[g].data[3] = -0.1  # alone is closed, and the dense network is the target
    target, steps = net.model(x).detach(), 0
    while 3 not in model.subnetwork().kept[g] and (steps := steps + 1) < 50:
        (slope,) = torch.autograd.grad((model(x) - target).square().sum(), model.masks[g])
        model.masks[g].data[3] -= 0.02 * slope[3] / slope[3].abs()
    assert steps == 6
    assert net.dense == model.subnetwork()


def test_a_mask_beyond_one_is_decided() -> None:
    net = pupil()
    model = masked(net)
    with torch.no_grad():
        model.masks[1][:] = torch.tensor([1.2, -1.2, *[0.5] * 8])
    (slope,) = torch.autograd.grad(model(torch.randn(5, 3, 8, 8)).square().sum(), model.masks[1])
    assert (slope == 0).tolist() == [True, True, *[False] * 8]


def test_about_half_of_the_channels_are_closed_at_the_start() -> None:
    net = Supernet.of(constructor("vgg11_bn", 10)(), torch.zeros(1, 3, 32, 32), check=False)
    start = Masked(net, range(len(net.groups)), seed=0)
    shares = start.subnetwork().widths / net.space.dense
    assert 0.3 < shares.min() < shares.max() < 0.7
    assert max(float(mask.detach().abs().max()) for mask in start.masks) < 0.01
    assert Masked(net, range(len(net.groups)), seed=1).subnetwork() != start.subnetwork()


def test_where_all_masks_are_closed_the_highest_count_as_open() -> None:
    net = pupil()
    model = masked(net)
    with torch.no_grad():
        for mask in model.masks:
            mask.copy_(-torch.linspace(0.1, 0.9, len(mask)))
    assert model.subnetwork().widths.tolist() == net.space.min_widths.tolist()
    assert {channels[0] for channels in model.subnetwork().kept} == {0}


def test_groups_without_a_mask_stay_whole() -> None:
    net = pupil()
    model = Masked(net, [1], seed=0)
    assert [len(model.masks), len(model.masks[0])] == [1, 10]
    others = np.delete(model.subnetwork().widths, 1)
    assert others.tolist() == np.delete(net.space.dense, 1).tolist()


class Flattened(nn.Module):
    """A channel fills nine columns of the layer that reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(54, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.relu(self.norm(self.conv(x))).flatten(1))
        return out


@pytest.mark.parametrize("name", ["resnet20", "vgg11_bn", "mobilenetv2", "flattened"])
def test_the_masked_network_is_the_slimmed_one(name: str) -> None:
    torch.manual_seed(0)
    model, size = (Flattened(), 5) if name == "flattened" else (constructor(name, 10)(), 32)
    random_norms(model)
    net = Supernet.of(model.eval(), torch.zeros(1, 3, size, size), check=False)
    found = masked(net)
    x = torch.randn(4, 3, size, size)
    with torch.no_grad():
        answer, slimmed = found(x), found.slimmed(found.subnetwork()).eval()
        torch.testing.assert_close(slimmed(x), answer, atol=1e-4, rtol=1e-4)
        assert (answer - model(x)).abs().max() > 0.01
    count = sum(parameter.numel() for parameter in slimmed.parameters())
    assert count == net.parameters(found.subnetwork()) < net.parameters(net.dense)
