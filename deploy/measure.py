"""What a network is worth in use: test accuracy, costs, and its time beside the dense network's."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from ..errors import SecateurError
from ..models.evaluate import evaluate
from ..models.files.architecture import architecture_of
from ..models.supernet import Supernet
from ..models.timing.clock import time_interleaved
from ..models.zoo.registry import constructor
from ..models.zoo.weights import load_weights
from ..pipeline import open_run_data
from ..progress import Progress, silent
from ..rundir.config import RunConfig
from ..rundir.manifest import Outcome, config_of, read_manifest
from ..rundir.results import EVALUATION
from .divisors import by_divisor, suggested
from .export import slim_of
from .formats import Answer, export_as, onnx_session


def measure_run(
    run: Path, data: str | None = None, *, batch: int = 32, threads: int | None = None, progress: Progress = silent
) -> Outcome:
    """The slim network of a finished run beside the dense one; kept in the run directory, where a report finds it.

    Test figures are those that the run ended with; with ``data``, those on other test images.
    """
    _require(batch, threads)
    ask, slim = config_of(run), slim_of(run)
    record = architecture_of(slim)
    dense = constructor(ask.model, len(record["classes"]))()
    load_weights(dense, ask.weights or run / "dense" / "weights.safetensors")
    costs = {"dense": record["costs"]["dense"], "slim": record["costs"]["kept"]}
    networks, shape = {"dense": dense.eval(), "slim": slim}, tuple(record["inputs"][0])
    if data is None:
        ended = read_manifest(run)["stages"]["test"]
        scores = {"dense": ended["dense"]["test"], "slim": ended["tuned"]["test"]}
    else:
        scores = _scores(replace(ask, data=data), networks, shape, progress)
    with _threads(threads):
        outcome = {
            "networks": {name: {**costs[name], "test": scores[name]} for name in networks},
            **_conditions(),
            "macs_saved": 1 - costs["slim"]["macs"] / costs["dense"]["macs"],
            "latency": list(_latency(networks, shape, batch, progress)),
            "divisors": _divisors(dense, shape, costs["slim"]["macs"], progress),
        }
    (run / EVALUATION).write_text(json.dumps(outcome, indent=1))
    return outcome


def measure_model(
    ask: RunConfig, *, batch: int = 32, threads: int | None = None, progress: Progress = silent
) -> Outcome:
    """A dense network: its test accuracy on ``ask.data``, costs, and time."""
    _require(batch, threads)
    images = open_run_data(ask, progress)
    model = constructor(ask.model, len(images.classes))()
    if ask.weights:
        load_weights(model, ask.weights)
    net = Supernet.of(model.eval(), images.example, check=False)
    costs = {"macs": net.macs(net.dense), "parameters": net.parameters(net.dense)}
    score = asdict(evaluate(model, images.test))
    with _threads(threads):
        times = list(_latency({"dense": model}, tuple(images.example.shape[1:]), batch, progress))
        return {"networks": {"dense": {**costs, "test": score}}, **_conditions(), "latency": times}


def _require(batch: int, threads: int | None) -> None:
    for name, count in (("batch", batch), ("threads", threads)):
        if count is not None and count < 1:
            raise SecateurError(f"{name}={count}; give 1 or more")


def _scores(ask: RunConfig, networks: Mapping[str, nn.Module], shape: Any, progress: Progress) -> dict[str, Outcome]:
    images = open_run_data(ask, progress, shape)
    return {name: asdict(evaluate(network, images.test)) for name, network in networks.items()}


def _latency(networks: Mapping[str, nn.Module], shape: Any, batch: int, progress: Progress) -> Iterator[Outcome]:
    """A row for each engine and number of images at once."""
    engines = _engines(networks, shape)
    rows = [(engine, images) for engine in engines for images in dict.fromkeys((1, batch))]
    for done, (engine, images) in enumerate(rows, 1):
        times = time_interleaved(engines[engine], torch.randn(images, *shape))
        faster = {"speedup": times["dense"].median / times["slim"].median} if "slim" in times else {}
        progress("measuring latency", done, len(rows))
        yield {"engine": engine, "batch": images, **{name: asdict(each) for name, each in times.items()}, **faster}


def _engines(networks: Mapping[str, nn.Module], shape: Any) -> dict[str, Mapping[str, Answer]]:
    """torch, and onnxruntime where it is installed."""
    engines: dict[str, Mapping[str, Answer]] = {"torch": networks}
    if all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        with TemporaryDirectory() as folder:
            files = {name: export_as(each, shape, Path(folder, f"{name}.onnx"), {}) for name, each in networks.items()}
            threads = torch.get_num_threads()
            engines["onnxruntime"] = {name: onnx_session(each.path, threads) for name, each in files.items()}
    return engines


def _divisors(dense: nn.Module, shape: Any, macs: int, progress: Progress) -> dict[str, Outcome]:
    """By engine: what uniform widths of as many MACs take for one image, by their divisor, and the one to give."""
    example = torch.zeros(1, *shape)
    engines = _engines({str(each): network for each, network in by_divisor(dense, example, macs).items()}, shape)
    found = {}
    for done, (engine, networks) in enumerate(engines.items(), 1):
        times = time_interleaved(networks, example)
        best = suggested({int(divisor): seconds for divisor, seconds in times.items()})
        found[engine] = {"seconds": {each: asdict(seconds) for each, seconds in times.items()}, "suggested": best}
        progress("timing widths in multiples", done, len(engines))
    return found


def _conditions() -> Outcome:
    return {"device": "cpu", "threads": torch.get_num_threads(), "torch": torch.__version__}


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
