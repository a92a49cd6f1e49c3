"""How fast the slim network is beside the dense one, in the runtime that was asked for."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ..models.evaluate import device_of
from ..models.inputs import each_tensor, repeated
from ..models.supernet import Supernet
from ..models.timing.clock import Network, time_interleaved
from ..models.timing.layer_timers import conditions
from ..models.timing.onnx_file import onnx_session, write_onnx
from ..pipeline.session import Session
from ..rundir.config import RunConfig
from ..rundir.outcomes import LatencyRow, SpeedStage
from .common import kept_network

BATCH = 32  # images at once, beside single ones; fewer where training has fewer
ROUNDS, PATIENCE = 30, 3.0  # passes at most, and the seconds after which fewer are enough
Passes = Callable[[tuple[Tensor, ...]], Mapping[str, Network]]  # inputs → what runs each network on them


def speed_stage(session: Session, config: RunConfig, best: Path) -> SpeedStage:
    """The dense network and the one kept in ``best``, timed in turn; in torch where it has several inputs."""
    net, slim = session.net, kept_network(session, config, best)
    networks = {"dense": net.model.eval(), "slim": slim}
    runtime = config.constraints.runtime if len(net.examples) == 1 else "torch"
    about = conditions(net, runtime)
    with TemporaryDirectory() as folder:
        passes = _in_onnxruntime(networks, net, Path(folder)) if runtime == "onnxruntime" else _in_torch(networks, net)
        rows = tuple(_rows(session, passes, runtime, min(BATCH, config.transfer.batch or BATCH)))
    device = "cpu" if runtime == "onnxruntime" else about["device"]
    return SpeedStage(latency=rows, device=device, threads=about["threads"])


def _rows(session: Session, passes: Passes, runtime: str, batch: int) -> Iterator[LatencyRow]:
    """A row for one image, and one for several."""
    sizes, one = (1, batch), each_tensor(lambda x: x[:1], session.net.examples)
    for done, images in enumerate(sizes):
        session.progress("timing dense and slim", done, len(sizes))
        inputs = repeated(one, images)
        times = time_interleaved(passes(inputs), inputs[0], rounds=ROUNDS, patience=PATIENCE)
        yield LatencyRow.of(runtime, images, times)


def _in_torch(networks: Mapping[str, nn.Module], net: Supernet) -> Passes:
    """Where the networks are."""

    def running(model: nn.Module, inputs: tuple[Tensor, ...]) -> Network:
        return lambda _: net.run(model, inputs)

    return lambda inputs: {name: running(model, inputs) for name, model in networks.items()}


def _in_onnxruntime(networks: Mapping[str, nn.Module], net: Supernet, folder: Path) -> Passes:
    """On the CPU, with as many threads as torch has; files of the networks lie in ``folder``."""
    device, example = device_of(net.model), repeated(net.examples, 2)[0].cpu()
    sessions = {}
    for name, model in networks.items():
        write_onnx(model.cpu(), example, folder / f"{name}.onnx")
        model.to(device)
        sessions[name] = onnx_session(folder / f"{name}.onnx", torch.get_num_threads())

    def running(name: str, images: Tensor) -> Network:
        return lambda _: sessions[name](images.cpu())

    return lambda inputs: {name: running(name, inputs[0]) for name in sessions}
