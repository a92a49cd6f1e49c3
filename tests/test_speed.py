"""How fast a slim network is beside the dense one, as a run ends with it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small import images

import secateur as sc
from secateur.models.files.architecture import build, save
from secateur.models.timing.clock import Timing
from secateur.models.zoo.registry import constructor
from secateur.pipeline.session import Session
from secateur.rundir.outcomes import SpeedStage
from secateur.stages import speed
from secateur.stages.speed import BATCH, speed_stage

NET = """from torch import nn


def make(classes: int = 4) -> nn.Module:
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes))
"""
HALF = sc.Subnetwork((tuple(range(8)), tuple(range(8))))


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ROUNDS", 3)


def stage(folder: Path, told: list[str] | None = None, **options: Any) -> SpeedStage:
    """The speed of half a network in its folder."""
    (folder / "net.py").write_text(NET)
    config = sc.Ask(f"{folder / 'net.py'}:make", weights="given", **options)
    net = sc.Supernet.of(constructor(config.model, 4)().eval(), torch.zeros(1, 3, 8, 8))
    about = {"provenance": {"model": config.model}, "classes": ["a", "b", "c", "d"]}
    save(build(net, HALF, **about), folder / "best")
    split, names = images(), told if told is not None else []
    session = Session(
        net, sc.Data("toy", split, split, split, tuple("abcd")), folder, "float32", lambda what, *_: names.append(what)
    )
    return speed_stage(session, config, folder / "best")


def test_dense_and_slim_are_timed_for_one_image_and_for_several(tmp_path: Path) -> None:
    told: list[str] = []
    found = stage(tmp_path, told)
    assert [(row.engine, row.batch) for row in found.latency] == [("torch", 1), ("torch", BATCH)]
    for row in found.latency:
        assert row.slim
        assert row.speedup == row.dense.median / row.slim.median
        assert 0 < row.slim.low <= row.slim.median <= row.slim.high
        assert row.dense.n == 3
    assert found.threads == torch.get_num_threads()
    assert told == ["timing dense and slim"] * 2


def test_the_runtime_is_that_which_was_asked_for_and_the_batch_no_larger_than_in_training(tmp_path: Path) -> None:
    found = stage(tmp_path, runtime="onnxruntime", batch=4)
    assert [(row.engine, row.batch) for row in found.latency] == [("onnxruntime", 1), ("onnxruntime", 4)]
    assert found.device == "cpu"


def test_the_dense_network_runs_as_dense_and_the_slim_one_as_slim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []

    def passes(networks: Any, images: Any, **_: Any) -> Any:
        shapes.extend(tuple(network(images).shape) for network in networks.values())
        return TIMING

    monkeypatch.setattr(speed, "time_interleaved", passes)
    for runtime in ("torch", "onnxruntime"):
        row, _ = stage(tmp_path, runtime=runtime).latency
        assert (row.dense.median, row.slim and row.slim.median, row.speedup) == (0.004, 0.001, 4)
    assert shapes == [(1, 4), (1, 4), (BATCH, 4), (BATCH, 4)] * 2


TIMING = {name: Timing(median, median, median, 3) for name, median in (("dense", 0.004), ("slim", 0.001))}
