"""A third of the library's networks, every family among them, at the lowest resolution that they take."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from equality import assert_costs, assert_slims, random_subnetwork, randomised
from torch import Tensor, nn
from torchvision.models import MaxVit, SwinTransformer, VisionTransformer, get_model, list_models

from secateur.models.supernet import Supernet

SIDES = {  # run whole, at so many pixels
    **dict.fromkeys(["alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_b1"], 64),
    **dict.fromkeys(["googlenet", "mnasnet0_5", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_small"], 64),
    **dict.fromkeys(["mobilenet_v3_large", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet50"], 64),
    **dict.fromkeys(["resnext50_32x4d", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "squeezenet1_1"], 64),
    "inception_v3": 107,
}
COUNTED = ["efficientnet_v2_s", "vgg11", "vgg16_bn", "wide_resnet50_2", "resnet101"]  # without storage, at 64 pixels
TRACED = ["maxvit_t", "swin_t", "swin_v2_t", "vit_b_32"]  # the same, at 224; smaller ones of their classes run below
SEGMENTATION = ["fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"]
TRANSFORMERS: dict[str, Callable[[], nn.Module]] = {  # the library's classes, with fewer and narrower blocks
    "vit": lambda: VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24),
    "swin": lambda: SwinTransformer([4, 4], 12, [2, 2], [2, 4], [2, 2], stochastic_depth_prob=0),
    "maxvit": lambda: MaxVit((32, 32), 8, 2, [8, 12], [1, 1], 4, 0.0),
}


def library(name: str) -> nn.Module:
    """A network without weights from elsewhere."""
    options: dict[str, Any] = {"weights_backbone": None} if name in SEGMENTATION else {}
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": False, "aux_logits": False}
    torch.manual_seed(0)
    model: nn.Module = get_model(name, weights=None, **options)
    return model


def family(name: str) -> str:
    return re.match(r"[a-z]+(_v\d|_[xy])?", name).group()  # type: ignore[union-attr]  # every name starts so


def reasons(net: Supernet) -> set[str]:
    return {str(group.frozen) for group in net.frozen}


def supernet(model: nn.Module, example: Tensor) -> Supernet:
    return Supernet.of(randomised(model, example), example)


def test_every_family_of_the_library_is_represented_by_a_third_of_its_networks() -> None:
    names, chosen = list_models(module=torchvision.models), [*SIDES, *COUNTED, *TRACED]
    assert set(chosen) <= set(names)
    assert {family(name) for name in chosen} == {family(name) for name in names}
    assert 3 * len(chosen) >= len(names)


@pytest.mark.parametrize("name", SIDES)
def test_classifiers_slim_as_promised(name: str) -> None:
    net = supernet(library(name), torch.zeros(1, 3, SIDES[name], SIDES[name]))
    if family(name) not in ("shufflenet_v2",):
        assert reasons(net) == {"is an output of the network"}
    assert_slims(net, subnetworks=1, number=8)


@pytest.mark.parametrize("name", SEGMENTATION)
def test_segmentation_networks_slim_as_promised(name: str) -> None:
    net = supernet(library(name), torch.zeros(1, 3, 64, 64))
    assert reasons(net) == {"is an output of the network"}
    assert_slims(net, subnetworks=1, number=8)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_slim_as_promised(name: str) -> None:
    torch.manual_seed(0)
    net = supernet(TRANSFORMERS[name](), torch.zeros(1, 3, 32, 32))
    assert sum("mlp" in group.name or ".linear" in group.name for group in net.groups) >= 2
    assert_slims(net)


def without_storage(name: str, side: int) -> tuple[nn.Module, Tensor]:
    with torch.device("meta"):
        return library(name), torch.zeros(1, 3, side, side)


@pytest.mark.parametrize("name", COUNTED)
def test_costs_of_large_subnetworks_are_those_that_torch_counts(name: str) -> None:
    net = Supernet.of(*without_storage(name, 64))
    assert_costs(net, net.dense)
    assert_costs(net, random_subnetwork(net, 0))


@pytest.mark.parametrize("name", TRACED)
def test_costs_of_large_transformers_are_those_that_torch_counts(name: str) -> None:
    net = Supernet.of(*without_storage(name, 224), check=False)
    assert_costs(net, net.dense)
