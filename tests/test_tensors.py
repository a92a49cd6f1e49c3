from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from secateur.errors import SecateurError
from secateur.models.files.tensors import is_damaged, read_network, read_tensors, write_network, write_tensors


def test_tensors_come_back_with_what_is_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors({"x": torch.arange(4)}, path, {"step": "3"})
    about, tensors = read_tensors(path, "again")
    assert about["step"] == "3"
    assert tensors["x"].tolist() == [0, 1, 2, 3]
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_network_comes_back_with_the_layers_that_it_shares(tmp_path: Path) -> None:
    layer = nn.Linear(3, 3)
    write_network(nn.Sequential(layer, nn.ReLU(), layer), tmp_path / "net.safetensors")
    other = nn.Linear(3, 3)
    read_network(nn.Sequential(other, nn.ReLU(), other), tmp_path / "net.safetensors", "does not fit", "again")
    assert torch.equal(other.weight, layer.weight)


def test_another_network_is_refused_in_one_line(tmp_path: Path) -> None:
    write_network(nn.Linear(3, 3), tmp_path / "net.safetensors")
    with pytest.raises(SecateurError, match=r"net\.safetensors does not fit this \(.*\); pass another") as caught:
        read_network(nn.Linear(4, 3), tmp_path / "net.safetensors", "does not fit this", "pass another")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"garbage" * 9, None])
def test_a_file_that_is_none_of_safetensors_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert is_damaged(path)
    with pytest.raises(SecateurError, match=r"a\.safetensors cannot be read \(.*\); again"):
        read_tensors(path, "again")


def test_a_cleared_number_is_found_and_an_older_file_is_taken(tmp_path: Path) -> None:
    path, old = tmp_path / "a.safetensors", tmp_path / "old.safetensors"
    write_tensors({"x": torch.ones(64)}, path)
    assert not is_damaged(path)
    path.write_bytes(path.read_bytes()[:-4] + bytes(4))
    assert is_damaged(path)
    with pytest.raises(SecateurError, match="its content is not what was written"):
        read_tensors(path, "again")
    save_file({"x": torch.ones(64)}, old)
    assert not is_damaged(old)
    assert read_tensors(old, "again")[1]["x"].sum() == 64


def test_what_the_system_does_not_let_be_written_is_one_line_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.partial").mkdir()
    with pytest.raises(SecateurError, match=r"a\.safetensors cannot be written \(.*\); make room there or pass"):
        write_tensors({"x": torch.ones(64)}, tmp_path / "a.safetensors")
