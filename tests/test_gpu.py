"""The script for a GPU, on the CPU at tiny sizes."""

import json
import sys
from pathlib import Path
from typing import Any

import gpu
import pytest
import torch
from safetensors.torch import save_model
from torchvision.utils import save_image

import secateur as sc


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten classes of noise, weights of no training, and the channels that a search keeps."""
    tmp_path = tmp_path_factory.mktemp("gpu")
    torch.manual_seed(0)
    for split, count in (("train", 13), ("val", 2), ("test", 2)):
        for label in range(10):
            folder = tmp_path / "cifar" / split / f"{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                save_image(torch.rand(3, 32, 32), folder / f"{number}.png")
    save_model(sc.constructor("resnet20", classes=10)(), str(tmp_path / "resnet20-cifar10-jpeg.safetensors"))
    gpu.GpuBench("resnet20", f"{tmp_path}/cifar", kept_in(tmp_path), tmp_path).search("50%", 1)
    return tmp_path


def kept_in(place: Path) -> Path:
    (place / "kept").mkdir(exist_ok=True)
    return place / "kept"


def call(place: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> list[dict[str, Any]]:
    usual = [f"{place}/cifar", "--kept", f"{place}/kept", "--weights", str(place), "--net", "resnet20"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *usual, "--out", str(out), *options])
    gpu.main()
    rows: list[dict[str, Any]] = json.loads((out / "gpu.json").read_text())["rows"]
    return rows


def test_every_arm_is_trained_and_kept_once(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = ("--epochs", "1", "--seeds", "0", "--side-by-side", "2")
    first = call(place, tmp_path, monkeypatch, *short, "--arms", "ce", "kd")
    rows = call(place, tmp_path, monkeypatch, *short)
    assert rows[:2] == first
    assert [row["arm"] for row in rows] == ["ce", "kd", "aligned"]
    assert [row["side_by_side"] for row in rows] == [2, 2, 1]
    assert {row["test"]["n"] for row in rows} == {20}


def test_no_arm_begins_when_time_is_up(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(place, tmp_path, monkeypatch, "--minutes", "0") == []
