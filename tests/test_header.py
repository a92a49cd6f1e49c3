"""What a run says before it begins, and the dense network that ends it there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Capture, status
from safetensors.torch import save_file

import secateur as sc
from secateur.models.zoo.registry import constructor
from secateur.progress import Observer, silent
from secateur.stages.header import announce
from secateur.stages.prepare import prepare_run

CODE = """import torch
from torch import nn
from torch.utils.data import TensorDataset


def make(classes: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)
    )


def images() -> list[TensorDataset]:
    labels = torch.arange(80) % 4
    pixels = torch.randint(256, (80, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return [TensorDataset(pixels, labels)] * 3
"""


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A network of constant output and noise, as options; all in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text(CODE)
    torch.manual_seed(0)
    save_file(constructor("code.py:make", 4)().state_dict(), tmp_path / "weights.safetensors")
    return {"model": "code.py:make", "data": "code.py:images", "weights": "weights.safetensors", "method": "ce"}


def said(config: sc.RunConfig, out: Path, *, anyway: bool = True) -> list[str]:
    lines: list[str] = []
    work, _ = prepare_run(config, out, "cpu", silent)
    announce(work, Observer(say=lines.append), anyway=anyway)
    return lines


def test_six_lines_say_what_a_run_is_about_to_do(words: dict[str, str], tmp_path: Path) -> None:
    lines = said(sc.Ask(**words, flops="50%", precision="float32"), tmp_path / "out")
    assert [line.split(":")[0] for line in lines] == ["network", "input", "images", "device", "budget", "dense network"]
    assert lines[0] == "network: code.py:make (weights.safetensors), 4 classes (0, 1, 2, ...)"
    assert lines[1] == "input: 3x8x8, mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
    assert "80 to train on" in lines[2]
    assert lines[3] == "device: cpu, float32"
    assert re.fullmatch(r"budget: 50%: [\d.]+K of [\d.]+K MACs; widths (in multiples|of any).* here", lines[4])
    assert lines[5].startswith("dense network: 25.00% on 80 holdout images, loss 1.")


def test_the_budget_names_the_widths_that_may_be_chosen(words: dict[str, str], tmp_path: Path) -> None:
    stepped = said(sc.Ask(**words, flops="50%", divisor=2), tmp_path / "stepped")
    assert stepped[4].endswith("MACs; widths in multiples of 2 (2 groups)")
    assert said(sc.Ask(**words, flops="50%", divisor=1), tmp_path / "any")[4].endswith("MACs; widths of any number")


def test_trained_weights_at_chance_end_a_run_before_the_search_unless_anyway(
    words: dict[str, str], capsys: Capture
) -> None:
    line = ["run", words["model"], "--data", words["data"], "--weights", words["weights"], "--method", "ce"]
    small = ["--trials", "0", "--epochs", "1", "--out", "out", "--device", "cpu"]
    assert status([*line, *small]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert "reaches 25.00% of 80 holdout images, and chance 25.0% of the images; check --weights, --mean" in last
    assert "the order of the classes (0, 1, 2, ...), or pass --anyway" in last
    assert "search" not in json.loads(Path("out/run.json").read_text())["stages"]
    assert status([*line, *small, "--anyway", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_network_without_weights_is_trained_first_and_does_not_end_a_run(tmp_path: Path) -> None:
    lines = said(sc.Ask(input="3x8x8"), tmp_path / "out", anyway=False)
    assert lines[-1] == "dense network: no weights; it is trained first"


def test_a_student_without_weights_names_its_teacher(words: dict[str, str], tmp_path: Path) -> None:
    taught: dict[str, Any] = {
        "weights": None,
        "method": "kddp",
        "teacher": words["model"],
        "teacher_weights": words["weights"],
    }
    lines = said(sc.Ask(**{**words, **taught}), tmp_path / "out", anyway=False)
    assert lines[-1] == "dense network: no weights; taught by code.py:make"
    assert lines[-2].startswith("budget: kddp, of ")
