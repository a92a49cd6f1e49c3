from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from secateur.models.zoo.resnet import Shortcut, resnet20, resnet32, resnet44, resnet56, resnet110

WEIGHTS = Path(__file__).parents[2] / "shared" / "weights"
BLOCKS = [(resnet20, 3), (resnet32, 5), (resnet44, 7), (resnet56, 9), (resnet110, 18)]


@pytest.mark.parametrize(("net", "n"), BLOCKS)
def test_parameters_are_those_of_the_convolutions_the_norms_and_the_linear_layer(
    net: Callable[[], nn.Module], n: int
) -> None:
    stages = 2 * n * 16 * 16 + (16 * 32 + (2 * n - 1) * 32 * 32) + (32 * 64 + (2 * n - 1) * 64 * 64)
    norms = 2 * (16 + 2 * n * (16 + 32 + 64))
    with torch.device("meta"):
        parameters = sum(p.numel() for p in net().parameters())
    assert parameters == 9 * (3 * 16 + stages) + norms + 64 * 10 + 10


@pytest.mark.parametrize(("net", "millions"), [(resnet20, 0.27), (resnet56, 0.85), (resnet110, 1.7)])
def test_parameters_are_those_of_the_paper(net: Callable[[], nn.Module], millions: float) -> None:
    with torch.device("meta"):
        parameters = sum(p.numel() for p in net().parameters())
    assert parameters / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize(("net", "n"), BLOCKS)
def test_macs_are_those_of_three_stages_at_32_16_and_8_pixels(net: Callable[[], nn.Module], n: int) -> None:
    stage1 = 32**2 * (3 * 16 + 2 * n * 16 * 16)
    stage2 = 16**2 * (16 * 32 + (2 * n - 1) * 32 * 32)
    stage3 = 8**2 * (32 * 64 + (2 * n - 1) * 64 * 64)
    assert macs(net) == 9 * (stage1 + stage2 + stage3) + 64 * 10


def test_macs_of_resnet20_and_resnet56_are_the_published_ones() -> None:
    assert round(macs(resnet20) / 1e6, 1) == 40.6
    assert round(macs(resnet56) / 1e6, 2) == 125.49


def test_a_shortcut_puts_channel_c_at_c_plus_a_quarter_of_the_new_width_and_zeros_elsewhere() -> None:
    x = torch.randn(2, 16, 8, 8)
    out = Shortcut(16, 32)(x)
    assert out.shape == (2, 32, 4, 4)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


@pytest.mark.parametrize("kept", [[0, 3, 7, 8, 20, 31], [9, 12, 23], list(range(8)), list(range(32))])
def test_a_sliced_shortcut_gives_the_same_slice_of_the_answer(kept: list[int]) -> None:
    x = torch.randn(2, 16, 8, 8)
    shortcut = Shortcut(16, 32)
    whole = shortcut(x)
    index = torch.tensor(kept)
    narrow = deepcopy(shortcut)
    narrow.before = shortcut.before[:, index[index < 8]]
    narrow.after = shortcut.after[:, index[index >= 24] - 24]
    through = index[(index >= 8) & (index < 24)] - 8
    assert torch.equal(narrow(x[:, through]), whole[:, index])


def test_a_shortcut_without_new_channels_pads_nothing() -> None:
    x = torch.randn(2, 16, 7, 7)
    assert torch.equal(Shortcut(16, 16)(x), x[:, :, ::2, ::2])


def test_shortcuts_leave_nothing_in_the_state_dict() -> None:
    assert not [name for name in resnet20().state_dict() if "shortcut" in name]


def test_shortcuts_move_with_the_network_to_another_type() -> None:
    net = resnet20().double().eval()
    assert net(torch.zeros(1, 3, 32, 32, dtype=torch.float64)).dtype == torch.float64


def test_there_is_one_logit_for_each_class_at_any_resolution() -> None:
    net = resnet20(classes=7)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert net(torch.zeros(2, 3, 41, 25)).shape == (2, 7)


@pytest.mark.parametrize(("net", "depth"), [(resnet20, 20), (resnet56, 56)])
def test_the_shared_weights_load_strictly(net: Callable[[], nn.Module], depth: int) -> None:
    path = WEIGHTS / f"resnet{depth}-cifar10-jpeg.safetensors"
    if not path.is_file():
        pytest.skip("needs the dense weights in ../shared/weights")
    net().load_state_dict(load_file(path), strict=True)


def macs(net: Callable[[], nn.Module]) -> float:
    with torch.device("meta"):
        model, image = net().eval(), torch.empty(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        model(image)
    flops: int = counter.get_total_flops()
    return flops / 2
