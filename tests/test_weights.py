from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model

from secateur.errors import SecateurError
from secateur.models.zoo.resnet import resnet20
from secateur.models.zoo.weights import load_weights, weights_file


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {}},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
        lambda state: {n: tensor for n, tensor in state.items() if "num_batches_tracked" not in n},
        lambda state: {n: tensor.half() for n, tensor in state.items()},
        lambda state: {n: tensor.double() for n, tensor in state.items()},
        lambda state: {"model": state, "args": Namespace(lr=0.1), "best": np.float64(0.9)},
        lambda state: {"state_dict": {f"model.{n}": t for n, t in state.items()}, "epoch": 1},
        lambda state: {**state, "total_ops": torch.zeros(1), "conv1.total_params": torch.zeros(1)},
        lambda state: {"n_averaged": torch.tensor(3), **{f"module.{n}": t for n, t in state.items()}},
        lambda state: {**state, "epoch": 3, "arch": "resnet20"},
    ],
    ids=[
        *("plain", "state_dict", "model", "DataParallel", "compiled", "without counters", "half", "double"),
        *("arguments beside it", "Lightning", "thop", "AveragedModel", "numbers beside it"),
    ],
)
def test_checkpoints_of_every_usual_form_fill_the_network(
    tmp_path: Path, wrap: Callable[[dict[str, torch.Tensor]], object]
) -> None:
    trained, fresh = resnet20(), resnet20()
    torch.save(wrap(trained.state_dict()), tmp_path / "net.pt")
    load_weights(fresh, tmp_path / "net.pt")
    for ours, theirs in zip(fresh.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_bfloat16_is_converted_to_the_networks_type(tmp_path: Path) -> None:
    trained, fresh = resnet20(), resnet20()
    torch.save({n: tensor.bfloat16() for n, tensor in trained.state_dict().items()}, tmp_path / "net.pt")
    load_weights(fresh, tmp_path / "net.pt")
    for ours, theirs in zip(fresh.parameters(), trained.parameters(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs.bfloat16().float())


def test_safetensors_fill_the_network(tmp_path: Path) -> None:
    trained, fresh = resnet20(), resnet20()
    save_file(trained.state_dict(), tmp_path / "net.safetensors")
    load_weights(fresh, str(tmp_path / "net.safetensors"))
    assert torch.equal(fresh.get_parameter("linear.weight"), trained.get_parameter("linear.weight"))


def test_counters_are_not_asked_of_a_network_that_keeps_none(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.BatchNorm2d(3)).state_dict(), tmp_path / "net.pt")
    counterless = nn.Sequential(nn.BatchNorm2d(3))
    del counterless[0].num_batches_tracked
    load_weights(counterless, tmp_path / "net.pt")


def test_a_network_whose_own_names_begin_with_module_keeps_them(tmp_path: Path) -> None:
    trained, fresh = (nn.ModuleDict({"module": nn.Linear(2, 2)}) for _ in range(2))
    torch.save(trained.state_dict(), tmp_path / "net.pt")
    load_weights(fresh, tmp_path / "net.pt")
    assert torch.equal(fresh.get_parameter("module.weight"), trained.get_parameter("module.weight"))


def test_auxiliary_heads_that_the_constructor_leaves_out_are_passed_over(tmp_path: Path) -> None:
    with torch.device("meta"):
        whole = get_model("googlenet", weights=None, num_classes=7, aux_logits=True, init_weights=False)
        plain = get_model("googlenet", weights=None, num_classes=7, aux_logits=False, init_weights=False)
    torch.save({name: torch.zeros(t.shape) for name, t in whole.state_dict().items()}, tmp_path / "net.pt")
    load_weights(plain.to_empty(device="cpu"), tmp_path / "net.pt")


def test_other_weights_are_counted_named_and_not_loaded(tmp_path: Path) -> None:
    net = resnet20(classes=10)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = resnet20(classes=100).state_dict()
    del state["layer3.2.conv1.weight"]
    state["head"] = state["fc"] = torch.zeros(2)
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(SecateurError) as caught:
        load_weights(net, tmp_path / "net.pt")
    assert str(caught.value) == (
        f"weights {tmp_path / 'net.pt'} are not for this network: 1 tensors missing (layer3.2.conv1.weight), "
        "2 unknown (first: head), "
        "2 of another shape (first: linear.weight is 100x64, the network has 10x64); "
        "pass weights of the same architecture and class count"
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_weights_for_other_classes_say_so(tmp_path: Path) -> None:
    torch.save({"net": resnet20(classes=4).state_dict()}, tmp_path / "net.pt")
    with pytest.raises(SecateurError) as caught:
        load_weights(resnet20(classes=10), tmp_path / "net.pt")
    assert str(caught.value) == (
        f"weights {tmp_path / 'net.pt'} (under 'net') are for 4 classes, the network has 10 "
        "(first: linear.weight is 4x64, the network has 10x64); pass weights of as many classes"
    )


def test_other_widths_are_not_taken_for_other_classes(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)).state_dict(), tmp_path / "net.pt")
    with pytest.raises(SecateurError, match="not for this network: 0 tensors missing, 0 unknown, 3 of another shape"):
        load_weights(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), tmp_path / "net.pt")


def test_a_key_behind_the_file_names_a_network_in_it(tmp_path: Path) -> None:
    raw, average, fresh = resnet20(), resnet20(), resnet20()
    torch.save({"state_dict": raw.state_dict(), "state_dict_ema": average.state_dict()}, tmp_path / "net.pt")
    load_weights(fresh, f"{tmp_path / 'net.pt'}:state_dict_ema")
    assert torch.equal(fresh.get_parameter("linear.weight"), average.get_parameter("linear.weight"))
    assert weights_file(f"{tmp_path / 'net.pt'}:state_dict_ema") == weights_file(tmp_path / "net.pt")
    with pytest.raises(SecateurError, match=r"net\.pt:lost: it holds no tensors under 'lost'"):
        load_weights(fresh, f"{tmp_path / 'net.pt'}:lost")


def test_the_line_that_converts_a_pickled_network_names_its_key(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "ema": resnet20()}, tmp_path / "net.pt")
    with pytest.raises(SecateurError, match=r"hold a secateur\.\S+ResNet, .*weights_only=False\)\['ema'\]\.state_dict"):
        load_weights(resnet20(), tmp_path / "net.pt")


def test_a_pickled_network_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(resnet20(), tmp_path / "net.pt")
    with pytest.raises(SecateurError, match=r"re-save them as a plain state dict: torch.save\(model.state") as e:
        load_weights(resnet20(), tmp_path / "net.pt")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("stored", [torch.zeros(3), [1, 2], {1: torch.zeros(3)}])
def test_a_checkpoint_without_names_is_refused(tmp_path: Path, stored: object) -> None:
    torch.save(stored, tmp_path / "net.pt")
    with pytest.raises(SecateurError, match="not tensors by name"):
        load_weights(resnet20(), tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("name", "useful"),
    [("net.pt", "are no PyTorch file"), ("net.safetensors", "can't be read as safetensors")],
)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, useful: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(SecateurError, match=useful):
        load_weights(resnet20(), tmp_path / name)


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors", ""])
def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SecateurError, match=r"no weights file .*; pass a .safetensors file"):
        load_weights(resnet20(), tmp_path / name)
