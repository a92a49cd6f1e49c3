from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.models.zoo.registry import constructor
from secateur.models.zoo.resnet import resnet20


def supernet(model: nn.Module | None = None) -> Supernet:
    return Supernet.of(model or resnet20(), torch.zeros(1, 3, 32, 32))


def test_it_says_itself_in_a_line() -> None:
    net = Supernet.of(constructor("resnet20", 10)(), torch.zeros(1, 3, 32, 32), check=False)
    assert repr(net) == f"Supernet(ResNet, groups={len(net.groups)}, frozen={len(net.frozen)})"


def test_one_name_may_be_frozen_as_text() -> None:
    net = Supernet.of(constructor("resnet20", 10)(), torch.zeros(1, 3, 32, 32), freeze="conv1", check=False)
    assert "conv1" in {group.name for group in net.frozen}


def test_the_model_is_held_not_copied() -> None:
    model = resnet20()
    assert supernet(model).model is model


def test_half_the_macs_is_a_budget() -> None:
    assert supernet().budget("50%").macs == 40_551_040 // 2


def test_a_network_without_hidden_layers_has_nothing_to_prune() -> None:
    with pytest.raises(SecateurError, match=r"nothing to prune \(0 is an output of the network\)"):
        supernet(nn.Sequential(nn.Conv2d(3, 8, 3))).budget("50%")


def test_a_network_without_layers_has_nothing_to_prune() -> None:
    with pytest.raises(SecateurError, match=r"nothing to prune \(it has no layers\)"):
        supernet(nn.Sequential(nn.ReLU())).budget("50%")


@pytest.mark.parametrize("batch", [2, 5])
def test_the_groups_do_not_depend_on_the_size_of_the_example_batch(batch: int) -> None:
    one = supernet()
    many = Supernet.of(one.model, torch.zeros(batch, 3, 32, 32))
    assert [(g.name, g.width) for g in many.groups] == [(g.name, g.width) for g in one.groups]


def test_least_widths_of_groups_are_given_by_name_as_shares_or_as_channels() -> None:
    net = Supernet.of(resnet20(), torch.zeros(1, 3, 32, 32), least={"layer1.1.*": 0.5, "layer1.*": 5, "conv1": 99})
    least = dict(zip([group.name for group in net.groups], net.space.min_widths.tolist(), strict=True))
    assert (least["layer1.1.conv1"], least["layer1.0.conv1"], least["conv1"]) == (8, 5, 16)
    assert least["layer3.0.conv1"] == 7  # a tenth of 64, rounded up


@pytest.mark.parametrize("options", [{"least": {"layer9": 4}}, {"freeze": ["layer9"]}, {"tie": [("conv1", "layer9")]}])
def test_a_name_that_no_group_has_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SecateurError, match="no channel group is called 'layer9'; the groups are conv1, layer1"):
        Supernet.of(resnet20(), torch.zeros(1, 3, 32, 32), **options)


def test_tied_groups_keep_the_same_channels() -> None:
    one = supernet()
    tied = Supernet.of(one.model, torch.zeros(1, 3, 32, 32), tie=[("layer1.0.conv1", "layer1.1.conv1")])
    group = next(group for group in tied.groups if group.name == "layer1.0.conv1")
    places = {member.tensor: member.where(np.array([3])).tolist() for member in group.members}
    assert len(tied.groups) == len(one.groups) - 1
    assert places["layer1.0.conv2.weight"] == places["layer1.1.conv2.weight"] == [3]
    assert tied.macs(tied.dense) == one.macs(one.dense)


def test_groups_of_different_widths_cannot_be_tied() -> None:
    with pytest.raises(
        SecateurError, match=r"layer1\.0\.conv1 has 16 channels and layer3\.0\.conv1 64; tie groups of one"
    ):
        Supernet.of(resnet20(), torch.zeros(1, 3, 32, 32), tie=[("layer1.0.conv1", "layer3.0.conv1")])


def test_groups_that_a_norm_reduces_over_are_marked() -> None:
    def normed(norm: nn.Module) -> list[bool]:
        net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), norm, nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 5, 1))
        return [group.normed for group in supernet(net).groups]

    assert normed(nn.GroupNorm(2, 8)) == [True, False]
    assert normed(nn.GroupNorm(8, 8)) == [False, False]  # each channel alone
    assert normed(nn.BatchNorm2d(8)) == [False, False]


def test_a_tie_of_more_than_two_groups_is_refused() -> None:
    with pytest.raises(SecateurError, match=r"'layer1\.\*' names 3 channel groups; tie them two by two"):
        Supernet.of(resnet20(), torch.zeros(1, 3, 32, 32), tie=[("layer1.*", "conv1")])


def test_a_module_of_two_names_is_followed_and_left_as_it_was() -> None:
    torch.manual_seed(0)
    twice = nn.Conv2d(4, 4, 1, bias=False)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), twice, nn.ReLU(), twice, nn.Flatten(), nn.Linear(256, 5))
    image = torch.randn(1, 3, 8, 8)
    before = model(image)
    net = Supernet.of(model, image)
    assert torch.equal(model(image), before)
    assert [(group.name, group.width) for group in net.groups] == [("0", 4)]
