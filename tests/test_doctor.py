"""``secateur doctor``: what this machine offers."""

import json
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from secateur.__main__ import main
from secateur.deploy import doctor

NAMES = {"secateur", "Python", "torch", "device", "threads", "bfloat16", "free disk", "onnx", "timm", "postgres"}


def test_the_doctor_prints_a_line_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert {line.partition(":")[0] for line in lines} >= NAMES
    assert f"torch: {version('torch')}" in lines
    assert f"threads: {torch.get_num_threads()}" in lines


def test_the_doctor_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found.keys() >= NAMES
    assert found["torch"] == {"value": version("torch"), "fix": None}


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        if name == "onnxscript":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", missing)
    found = {finding.name: finding for finding in doctor.examination("0.1.0")}
    assert found["onnx"].value == "onnxscript not installed"
    assert 'pip install "secateur[onnx]"' in found["onnx"].fix
    assert found["timm"].fix == ""


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2e9))
    (disk,) = (each for each in doctor.examination("0.1.0", tmp_path) if each.name == "free disk")
    assert disk.value == f"2.0 GB in {tmp_path.resolve()}"
    assert "--out" in disk.fix
