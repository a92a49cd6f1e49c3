"""A network that was reused, from the command line to its training, its test and its export."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Capture, status, told
from safetensors.torch import save_file

import secateur as sc
from secateur.models.timing import clock
from secateur.models.zoo.registry import NETS

CLASSES = ["ant", "bee", *"cdefghij"]
NORMALISATION = {"mean": [0.4, 0.4, 0.4], "std": [0.3, 0.3, 0.3]}


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An architecture of ResNet-20 for 8x8 images of ten named classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clock, "ROUNDS", 3)
    net = sc.Supernet.of(NETS["resnet20"](10).eval(), torch.zeros(1, 3, 8, 8), check=False)
    about = {"provenance": {"model": "resnet20"}, "classes": CLASSES, "normalisation": NORMALISATION}
    sc.save(sc.slim(net, sc.Subnetwork.first(net.space.dense // 4), **about), "found")
    save_file(NETS["resnet20"](10).state_dict(), "dense.safetensors")
    return Path("found")


def record(folder: str) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(Path(folder, "architecture.json").read_text())
    return whole


def answer(argv: list[str], capsys: Capture) -> dict[str, Any]:
    assert status([*argv, "--json"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_reuse_takes_network_classes_input_and_normalisation_from_its_source(found: Path, capsys: Capture) -> None:
    said = answer(["reuse", "found", "--weights", "dense.safetensors", "--out", "again"], capsys)
    assert said["exact"]
    assert said["found_on"] == "resnet20"
    kept = record("again")
    assert (kept["inputs"], kept["classes"], kept["normalisation"]) == ([[3, 8, 8]], CLASSES, NORMALISATION)
    answer(["reuse", "found", "resnet20", "--classes", "4", "--input", "3x16x16", "--out", "other"], capsys)
    assert (record("other")["inputs"], record("other")["classes"]) == ([[3, 16, 16]], ["0", "1", "2", "3"])


def test_another_input_keeps_the_very_channels(found: Path, capsys: Capture) -> None:
    said = answer(["reuse", "found", "resnet20", "--input", "3x16x16", "--out", "larger"], capsys)
    assert said["exact"]
    assert record("larger")["groups"] == record("found")["groups"]


def test_fresh_weights_are_trained_tested_and_exported(found: Path, capsys: Capture) -> None:
    answer(["reuse", "found", "--out", "fresh"], capsys)
    assert "fresh has fresh weights; train it first: secateur transfer fresh" in told(["run", "fresh"], capsys)
    said = answer(["transfer", "fresh", "--data", "digits", "--epochs", "1", "--device", "cpu"], capsys)
    assert said["macs"] == record("found")["costs"]["kept"]["macs"]
    assert said["test"]["n"] == 359
    kept = record(said["out"])
    assert (kept["training"]["method"], kept["provenance"]["weights"]) == ("ce", "trained")
    assert kept["figures"]["tuned"]["test"] == said["test"]
    assert not torch.equal(*(sc.load(each).get_parameter("linear.weight") for each in ("fresh", said["out"])))
    assert answer(["transfer", "fresh", "--data", "digits", "--epochs", "1"], capsys) == said  # done already
    measured = answer(["evaluate", said["out"], "--batch", "2", "--threads", "1"], capsys)
    assert measured["networks"]["dense"]["test"]["accuracy"] == pytest.approx(said["test"]["accuracy"], abs=0.01)
    assert answer(["export", said["out"], "--format", "pt2"], capsys)["difference"] < 1e-4
    assert status(["inspect", said["out"]]) == 0
    assert "on an input of 3x8x8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "found2 is not part of a run; pass --data to train it on"),
        (["--data", "digits", "--method", "kd"], "--method kd needs its teachers; pass --method ce"),
        (["--data", "digits", "--flops", "40%"], "is one network and no front; leave out --flops 40%"),
        (["--data", "digits", "--model", "resnet20"], "is a network itself; leave out --model resnet20"),
    ],
)
def test_what_a_single_network_cannot_do_is_said(found: Path, words: list[str], said: str, capsys: Capture) -> None:
    answer(["reuse", "found", "--out", "found2"], capsys)
    assert said in told(["transfer", "found2", *words], capsys)


def test_a_network_is_not_tested_on_data_that_nobody_named(found: Path, capsys: Capture) -> None:
    assert "found does not say what it is tested on; pass --data" in told(["evaluate", "found"], capsys)
    assert "no network is called 'nowhere'" in told(["evaluate", "nowhere"], capsys)
