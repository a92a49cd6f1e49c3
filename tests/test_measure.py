"""What a network is worth in use."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import secateur as sc
from secateur.__main__ import main
from secateur.deploy import measure as evaluation
from secateur.digests import unsealed
from secateur.models.files.architecture import build, save
from secateur.models.score import Score
from secateur.models.timing import clock as timing
from secateur.models.zoo.registry import constructor
from secateur.rundir.manifest import Manifest
from secateur.rundir.outcomes import EvaluationStage, Figures

NET = """from torch import nn


def make(classes: int = 10) -> nn.Module:
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes))
"""
SCORE: dict[str, Any] = {"loss": 0.5, "accuracy": 0.875, "n": 359}


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ROUNDS", 3)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run, as far as it is read here."""
    (tmp_path / "net.py").write_text(NET)
    ask, folder = sc.Ask(f"{tmp_path / 'net.py'}:make", input="3x8x8"), tmp_path / "run"
    ledger, dense = Manifest(folder, ask), constructor(ask.model, 10)()
    net = sc.Supernet.of(dense.eval(), torch.zeros(1, 3, 8, 8))
    about = {"provenance": {"model": ask.model}, "classes": [str(each) for each in range(10)]}
    save(build(net, sc.Subnetwork((tuple(range(8)), tuple(range(8)))), **about), folder / "best")
    (folder / "dense").mkdir()
    save_file(dense.state_dict(), folder / "dense" / "weights.safetensors")
    dense_figures = Figures(test=Score(**{**SCORE, "accuracy": 0.9}), macs=1, parameters=1)
    tuned = Figures(test=Score(**SCORE), macs=1, parameters=1)
    ledger.stage("test", lambda: EvaluationStage(dense=dense_figures, pruned=tuned, tuned=tuned))
    return folder


def test_both_networks_are_timed_in_both_engines_one_image_and_more(run: Path) -> None:
    threads = torch.get_num_threads()
    outcome = evaluation.measure_run(run, model=f"{run.parent / 'net.py'}:make", batch=4, threads=1).to_dict()
    assert [(row["engine"], row["batch"]) for row in outcome["latency"]] == [
        *(("torch", 1), ("torch", 4)),
        *(("onnxruntime", 1), ("onnxruntime", 4)),
    ]
    for row in outcome["latency"]:
        assert row["speedup"] == row["dense"]["median"] / row["slim"]["median"] > 0
        assert row["slim"]["low"] <= row["slim"]["median"] <= row["slim"]["high"]
    assert outcome["networks"]["slim"]["test"] == SCORE  # as the run ended; no image was read
    costs = {name: row["macs"] for name, row in outcome["networks"].items()}
    assert outcome["macs_saved"] == 1 - costs["slim"] / costs["dense"] > 0.5
    assert list(outcome["divisors"]) == ["torch", "onnxruntime"]
    assert all(str(each["suggested"]) in each["seconds"] for each in outcome["divisors"].values())
    assert (outcome["threads"], torch.get_num_threads()) == (1, threads)
    assert unsealed(json.loads((run / "evaluation.json").read_text())) == outcome


def test_without_onnx_torch_is_timed_and_with_data_the_images_are_read(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluation, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        main(
            [
                "evaluate",
                str(run),
                "--model",
                f"{run.parent / 'net.py'}:make",
                "--data",
                "digits",
                "--batch",
                "2",
                "--json",
            ]
        )
    outcome = json.loads(capsys.readouterr().out)
    assert {row["engine"] for row in outcome["latency"]} == {"torch"}
    assert outcome["networks"]["slim"]["test"]["n"] == 359
    assert outcome["networks"]["slim"]["test"]["accuracy"] < 0.5  # never trained


def test_a_dense_network_is_evaluated_too(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluation, "find_spec", lambda name: None)
    weights = str(run / "dense" / "weights.safetensors")
    with pytest.raises(SystemExit):
        main(["evaluate", f"{run.parent / 'net.py'}:make", "--weights", weights, "--input", "3x8x8", "--quiet"])
    said = capsys.readouterr().out
    assert "359" in said
    assert "speed-up" in said
    assert "MACs saved" not in said
