from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model

from secateur.models.zoo.vgg import vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn

NETS = [vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn]


def test_vgg11_has_the_published_parameters() -> None:
    parameters = count(vgg11_bn)
    assert parameters == 9_756_426
    assert round(parameters, -3) == 9_756_000


def test_vgg11_costs_the_convolutions_and_the_linear_layers() -> None:
    pixels = (32**2, 16**2, 8**2, 8**2, 4**2, 4**2, 2**2, 2**2)
    widths = (3, 64, 128, 256, 256, 512, 512, 512, 512)
    convolutions = sum(p * 9 * widths[i] * widths[i + 1] for i, p in enumerate(pixels))
    macs = macs_of(vgg11_bn)
    assert macs == convolutions + 512 * 512 + 512 * 512 + 512 * 10
    assert round(macs / 1e6, 1) == 153.3


@pytest.mark.parametrize("net", NETS)
def test_the_features_have_the_tensors_of_torchvision(net: Callable[..., nn.Module]) -> None:
    with torch.device("meta"):
        ours, theirs = net().state_dict(), get_model(net.__name__, weights=None).state_dict()
    assert shapes(ours) == shapes(theirs)


@pytest.mark.parametrize("net", NETS)
def test_an_untrained_network_prefers_no_class_much(net: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        logits = net()(torch.randn(32, 3, 32, 32))
    assert logits.std() < 1  # else the first steps of SGD silence the linear layers


@pytest.mark.parametrize("net", NETS)
def test_there_is_one_logit_for_each_class(net: Callable[..., nn.Module]) -> None:
    with torch.device("meta"):
        assert net(classes=7)(torch.empty(2, 3, 32, 32)).shape == (2, 7)


def test_logits_are_finite_and_differ_between_images() -> None:
    logits = vgg11_bn().eval()(torch.randn(2, 3, 32, 32))
    assert logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])


def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items() if name.startswith("features")}


def count(net: Callable[..., nn.Module]) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in net().parameters())


def macs_of(net: Callable[..., nn.Module]) -> float:
    with torch.device("meta"):
        model, image = net().eval(), torch.empty(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        model(image)
    flops: int = counter.get_total_flops()
    return flops / 2
