"""ONNX files, and what sessions of them profile."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from secateur.errors import SecateurError
from secateur.models.timing.onnx_file import open_session, profiled_seconds, require_library, write_onnx


class Ended:
    """A session that has written its profile."""

    def __init__(self, path: Path, events: list[tuple[str, str, int]]) -> None:
        self.path = path
        path.write_text(json.dumps([{"name": n, "dur": d, "args": {"op_name": op}} for n, op, d in events]))

    def end_profiling(self) -> str:
        return str(self.path)


def test_each_product_has_its_seconds_and_those_of_what_follows_it(tmp_path: Path) -> None:
    one = [("a_kernel_time", "ReorderInput", 1), ("b_kernel_time", "FusedConv", 2), ("c_kernel_time", "Relu", 3)]
    events = [*one, ("d_kernel_time", "Gemm", 4), ("execute", "", 99), ("model_run", "", 99)]
    runs = profiled_seconds(Ended(tmp_path / "profile.json", [("load", "", 9), *events, *events]))
    assert runs == [pytest.approx([1e-6, 5e-6, 4e-6])] * 2
    assert not (tmp_path / "profile.json").exists()


def test_a_file_answers_as_the_network_and_keeps_what_it_is_about(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval(), torch.randn(3, 3, 6, 6)
    path = tmp_path / "network.onnx"
    write_onnx(model, torch.zeros(2, 3, 6, 6), path, {"about": "it"})
    session = open_session(path, 1)
    assert session.get_modelmeta().custom_metadata_map["about"] == "it"
    (output,) = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), model(images).detach(), rtol=1e-4, atol=1e-5)


def test_a_library_that_is_not_installed_is_named() -> None:
    with pytest.raises(SecateurError, match=r"no_such_library is not installed; pip install 'secateur\[onnx\]'"):
        require_library("no_such_library")
