"""What a network is worth in use: test accuracy, costs, and its time beside the dense network's."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from ..data.sources import is_code
from ..errors import SecateurError
from ..files import write_json
from ..models.evaluate import evaluate
from ..models.files.architecture import architecture_of
from ..models.files.networks import network_called, require_network
from ..models.files.place import ARCHITECTURE, home_of, is_kept
from ..models.files.schema import read_architecture
from ..models.supernet import Supernet
from ..models.timing.clock import time_interleaved
from ..models.timing.onnx_file import LIBRARIES, Answer, onnx_session
from ..models.zoo.weights import load_weights
from ..pipeline.images import open_run_data
from ..pipeline.typed import with_typed
from ..progress import Progress, silent
from ..rundir.config import RunConfig, ask
from ..rundir.kept import Kept
from ..rundir.manifest import config_of, read_manifest
from ..rundir.measured import EVALUATION, DivisorTimes, Measured, NetworkScore
from ..rundir.options import DataOptions
from ..rundir.outcomes import EvaluationStage, LatencyRow, Seconds, parse
from .divisors import by_divisor, suggested
from .export import slim_of
from .formats import export_as


def measure(
    target: str,
    data: str | None = None,
    *,
    model: str | None = None,
    weights: str | None = None,
    input: str | None = None,
    task: str | None = None,
    **how: Any,
) -> Measured:
    """A run, a point of one, or any network: as ``measure_run`` and ``measure_model`` say."""
    if Kept.at(target).run:
        if weights or input:
            raise SecateurError(f"{target} is a run and has its own weights and input; leave yours out")
        return measure_run(Path(target), data, model=model, task=task, **how)
    if model:
        raise SecateurError(f"{target} is no run, and --model is for runs; leave it out")
    return measure_model(ask(target, data=data or _usual_data(target), weights=weights, input=input, task=task), **how)


def _usual_data(target: str) -> str:
    """What a kept network was trained on, where that is no code; else the digits."""
    said = read_architecture(home_of(target) / ARCHITECTURE).provenance if is_kept(target) else None
    data = (said or {}).get("data")
    if isinstance(data, str) and not is_code(data):
        return data
    if is_kept(target):
        raise SecateurError(f"{target} does not say what it is tested on; pass --data")
    return DataOptions.data


def measure_run(
    run: Path,
    data: str | None = None,
    *,
    model: str | None = None,
    task: str | None = None,
    batch: int = 32,
    threads: int | None = None,
    progress: Progress = silent,
) -> Measured:
    """The slim network of a finished run beside the dense one; kept in the run directory, where a report finds it.

    ``run`` may be a point of one; what is measured of that is kept beside it. Test figures are those that the run ended
    with; with ``data``, those on other test images. ``model`` names the dense network where it is of the user's own
    code, and ``task`` the task that other images need, which no file may name.
    """
    _require_positive(batch=batch, threads=threads)
    kept = Kept.at(run)
    run = kept.run or run
    read = {} if data is None else {"task": task}  # only other images are judged
    config = with_typed(config_of(run), run, model=model, **read).with_options(augment=None)  # nothing is trained here
    slim = slim_of(kept.folder if kept.is_point else run, config.model)
    record = architecture_of(slim)
    dense = _dense(config, run, len(record["classes"]))
    networks, shape = {"dense": dense.eval(), "slim": slim}, tuple(record["inputs"][0])
    scores = (
        _ended_with(kept, run) if data is None else _scores(config.with_options(data=data), networks, shape, progress)
    )
    costs = {"dense": record["costs"]["dense"], "slim": record["costs"]["kept"]}
    with _threads(threads):
        measured = Measured(
            networks={name: NetworkScore(**costs[name], test=scores[name]) for name in networks},
            **_conditions(),
            macs_saved=1 - costs["slim"]["macs"] / costs["dense"]["macs"],
            latency=tuple(_latency(networks, shape, batch, progress)),
            divisors=_divisors(dense, shape, costs["slim"]["macs"], progress),
        )
    write_json((kept.folder if kept.is_point else run) / EVALUATION, measured.to_dict())
    return measured


def _dense(config: RunConfig, run: Path, classes: int) -> nn.Module:
    """The dense network of a run with its weights."""
    model = network_called(config.model, classes)()
    if config.weights or not config.trained:
        load_weights(model, config.weights or run / "dense" / "weights.safetensors")
    return model


def measure_model(
    config: RunConfig, *, batch: int = 32, threads: int | None = None, progress: Progress = silent
) -> Measured:
    """A network that is no run's: its test accuracy on the configured data, costs, and time."""
    _require_positive(batch=batch, threads=threads)
    require_network(config.model)
    images = open_run_data(config, progress)
    model = network_called(config.model, len(images.classes))()
    if config.weights:
        load_weights(model, config.weights)
    net = Supernet.of(model.eval(), images.example, check=False)
    score = NetworkScore(
        macs=net.macs(net.dense), parameters=net.parameters(net.dense), test=evaluate(model, images.test)
    )
    with _threads(threads):
        times = _latency({"dense": model}, tuple(images.example.shape[1:]), batch, progress)
        return Measured(networks={"dense": score}, **_conditions(), latency=tuple(times))


def _require_positive(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise SecateurError(f"{name}={count}; pass 1 or more")


def _ended_with(kept: Kept, run: Path) -> dict[str, Any]:
    """The test scores in a run's manifest, or in a point's architecture."""
    test = read_manifest(run).stages.test
    if kept.is_point and (figures := read_architecture(path := kept.folder / ARCHITECTURE).figures):
        test = parse(figures, EvaluationStage, path)
    if test is None or test.dense.test is None or test.tuned.test is None:
        raise SecateurError(f"{run} has not been tested yet; finish it with secateur run, or pass --data")
    return {"dense": test.dense.test, "slim": test.tuned.test}


def _scores(config: RunConfig, networks: Mapping[str, nn.Module], shape: Any, progress: Progress) -> dict[str, Any]:
    images = open_run_data(config, progress, shape)
    return {name: evaluate(network, images.test) for name, network in networks.items()}


def _latency(networks: Mapping[str, nn.Module], shape: Any, batch: int, progress: Progress) -> Iterator[LatencyRow]:
    """A row for each engine and batch size."""
    engines = _engines(networks, shape)
    rows = [(engine, images) for engine in engines for images in dict.fromkeys((1, batch))]
    for done, (engine, images) in enumerate(rows, 1):
        times = time_interleaved(engines[engine], torch.randn(images, *shape))
        progress("measuring latency", done, len(rows))
        yield LatencyRow.of(engine, images, times)


def _engines(networks: Mapping[str, nn.Module], shape: Any) -> dict[str, Mapping[str, Answer]]:
    """torch, and onnxruntime where it is installed."""
    engines: dict[str, Mapping[str, Answer]] = {"torch": networks}
    if all(map(find_spec, LIBRARIES)):
        with TemporaryDirectory() as folder:
            files = {name: export_as(each, shape, Path(folder, f"{name}.onnx"), {}) for name, each in networks.items()}
            threads = torch.get_num_threads()
            engines["onnxruntime"] = {name: onnx_session(each.path, threads) for name, each in files.items()}
    return engines


def _divisors(dense: nn.Module, shape: Any, macs: int, progress: Progress) -> dict[str, DivisorTimes]:
    """By engine: what uniform widths of as many MACs take for one image, by their divisor, and the one to use."""
    example = torch.zeros(1, *shape)
    engines = _engines({str(each): network for each, network in by_divisor(dense, example, macs).items()}, shape)
    found = {}
    for done, (engine, networks) in enumerate(engines.items(), 1):
        times = time_interleaved(networks, example)
        best = suggested({int(divisor): seconds for divisor, seconds in times.items()})
        seconds = {divisor: Seconds.of(each) for divisor, each in times.items()}
        found[engine] = DivisorTimes(seconds=seconds, suggested=best)
        progress("timing widths in multiples", done, len(engines))
    return found


def _conditions() -> dict[str, Any]:
    return {"device": "cpu", "threads": torch.get_num_threads(), "torch": str(torch.__version__)}


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
