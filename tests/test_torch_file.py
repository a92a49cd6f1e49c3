"""Files of torch.save with classes in them that are never looked up."""

import argparse
import collections
import pathlib
import subprocess
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import SecateurError
from secateur.models.zoo.torch_file import class_of, read_torch_file


class Settings(dict[str, object]):
    """As trainers have them: a dictionary with a class of its own."""


class Touch:
    """A pickle that runs a command where it is read as pickles are."""

    def __init__(self, function: Any, *words: Any) -> None:
        self.call = (function, words)

    def __reduce__(self) -> Any:
        return self.call


def settings() -> dict[str, object]:
    many = collections.defaultdict(list, {"losses": [1.0]})
    return {"namespace": argparse.Namespace(lr=0.1), "path": pathlib.Path("a/b"), "own": Settings(a=1), "many": many}


@pytest.mark.parametrize(
    "beside",
    [settings(), {"best": np.float64(0.5), "n": np.int64(3), "array": np.ones((2, 3))}, {"type": np.dtype("f4")}],
    ids=["classes", "numpy", "dtype"],
)
def test_tensors_are_read_whatever_stands_beside_them(tmp_path: pathlib.Path, beside: dict[str, object]) -> None:
    torch.save({"weight": torch.arange(3), **beside}, tmp_path / "net.pt")
    stored: Any = read_torch_file(tmp_path / "net.pt")
    assert stored["weight"].tolist() == [0, 1, 2]
    assert stored.keys() == {"weight", *beside}


def test_a_stand_in_knows_its_class_and_holds_the_items(tmp_path: pathlib.Path) -> None:
    torch.save({"own": Settings(a=1), "net": nn.Linear(2, 2)}, tmp_path / "net.pt")
    stored: Any = read_torch_file(tmp_path / "net.pt")
    assert class_of(stored["own"]) == f"{__name__}.Settings"
    assert stored["own"] == {"a": 1}
    assert class_of(stored["net"]) == "torch.nn.modules.linear.Linear"
    assert class_of(torch.zeros(1)) is None


def test_what_would_run_a_command_runs_none(tmp_path: pathlib.Path) -> None:
    mark = tmp_path / "ran"
    torch.save({"x": Touch(subprocess.call, ["touch", str(mark)])}, tmp_path / "net.pt")
    stored: Any = read_torch_file(tmp_path / "net.pt")
    assert str(class_of(stored["x"])).endswith(".call")
    assert not mark.exists()


def test_commands_of_the_system_are_refused_by_name(tmp_path: pathlib.Path) -> None:
    import os

    mark = tmp_path / "ran"
    torch.save({"x": Touch(os.system, f"touch {mark}")}, tmp_path / "net.pt")
    with pytest.raises(SecateurError, match=r"would run (posix|nt)\.system as they are read; pass other weights"):
        read_torch_file(tmp_path / "net.pt")
    assert not mark.exists()


def test_a_program_of_torchscript_is_refused_with_the_line_that_converts_it(tmp_path: pathlib.Path) -> None:
    with catch_warnings():
        simplefilter("ignore")  # torch would rather not be asked
        program = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))  # type: ignore[no-untyped-call]
        torch.jit.save(program, tmp_path / "net.pt")
    with pytest.raises(SecateurError, match=r"are a TorchScript program.*torch\.jit\.load\('.*net\.pt'\)") as caught:
        read_torch_file(tmp_path / "net.pt")
    assert "\n" not in str(caught.value)


def test_the_old_form_of_torch_is_read_where_it_holds_tensors_alone(tmp_path: pathlib.Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "net.pt", _use_new_zipfile_serialization=False)
    stored: Any = read_torch_file(tmp_path / "net.pt")
    assert stored["weight"].tolist() == [1, 1]
    torch.save({"args": argparse.Namespace()}, tmp_path / "args.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(SecateurError, match=r"more than tensors \(argparse\.Namespace\); where you trust the file"):
        read_torch_file(tmp_path / "args.pt")


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04 half an archive", bytes(4096)])
def test_what_is_no_file_of_torch_is_refused_in_one_line(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(SecateurError, match="are no PyTorch file") as caught:
        read_torch_file(tmp_path / "net.pt")
    assert "\n" not in str(caught.value)


def test_an_archive_of_damaged_names_is_refused_in_one_line(tmp_path: pathlib.Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "net.pt")
    whole = (tmp_path / "net.pt").read_bytes()
    place = whole.rindex(b"PK\x01\x02")  # the last entry of the directory: its name is said to be UTF-8, and is not
    flags, name = place + 8, place + 46
    content = bytearray(whole)
    content[flags + 1] |= 8
    content[name] = 0xE9
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(SecateurError) as caught:
        read_torch_file(tmp_path / "net.pt")
    assert "\n" not in str(caught.value)
