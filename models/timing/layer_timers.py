"""The seconds of a network's layers in the runtimes that it may be used in: torch, and onnxruntime on the CPU."""

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Protocol
from weakref import finalize

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ...errors import SecateurError
from ..evaluate import device_of
from ..structure import Structure
from ..tracing.atoms import FloatArray
from ..tracing.rules import is_product
from .clock import synchronised
from .onnx_file import open_session, profiled_seconds, write_onnx

RUNTIMES = ("torch", "onnxruntime")


class LayerTimer(Protocol):
    """A network in one runtime, with images to run on."""

    def warm_up(self) -> None:
        """One pass that is not timed."""

    def whole(self) -> float:
        """The seconds of one pass, undisturbed."""

    def run(self) -> None:
        """One pass whose layers are timed."""

    def seconds(self) -> FloatArray:
        """Of all timed passes so far, once: what ran before the first product, and each product with what follows it.

        Shape: → (passes, L + 1)
        """


def layer_timer(
    net: Structure,
    model: nn.Module,
    images: Sequence[Tensor],
    runtime: str = "torch",
    clock: Callable[[], float] = time.perf_counter,
) -> LayerTimer:
    """The timer of a network of the structure of ``net`` in the runtime of this name."""
    if runtime == "onnxruntime":
        return OnnxTimer(net, model, images, clock)
    return TorchTimer(net, model, images, clock)


def require_runtime(name: str) -> None:
    """Raise SecateurError on a name that no runtime has."""
    if name not in RUNTIMES:
        raise SecateurError(f"no runtime is called {name!r}; pass {' or '.join(RUNTIMES)}")


class Stopwatch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Adds up the seconds of the operations of each layer."""

    def __init__(self, layers: int, now: Callable[[], float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds, self.now, self.layer = np.zeros(layers), now, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.layer += is_product(func)
        start = self.now()
        output = func(*args, **(kwargs or {}))
        self.seconds[min(self.layer, len(self.seconds) - 1)] += self.now() - start
        return output


class TorchTimer:
    """A network in torch, on its own device."""

    def __init__(self, net: Structure, model: nn.Module, images: Sequence[Tensor], clock: Callable[[], float]) -> None:
        self.net, self.model, self.images = net, model, images
        self.now = synchronised(clock, device_of(model))
        self.passes: list[FloatArray] = []

    @torch.no_grad()
    def warm_up(self) -> None:
        """One pass that is not timed."""
        self.net.run(self.model, self.images)

    @torch.no_grad()
    def whole(self) -> float:
        """The seconds of one pass, undisturbed."""
        start = self.now()
        self.net.run(self.model, self.images)
        return self.now() - start

    @torch.no_grad()
    def run(self) -> None:
        """One pass whose layers are timed."""
        with Stopwatch(len(self.net.space.costs.products) + 1, self.now) as watch:
            self.net.run(self.model, self.images)
        _require_layers(watch.layer + 1, len(watch.seconds))
        self.passes.append(watch.seconds)

    def seconds(self) -> FloatArray:
        """Of all timed passes so far. Shape: → (passes, L + 1)"""
        return np.stack(self.passes)


class OnnxTimer:
    """A network in onnxruntime, on the CPU, with torch's number of threads; a file of it lies in a temporary folder."""

    def __init__(self, net: Structure, model: nn.Module, images: Sequence[Tensor], clock: Callable[[], float]) -> None:
        if len(images) != 1:
            raise SecateurError(f"a network of {len(images)} inputs can't be timed in onnxruntime; pass runtime torch")
        self.clock, self.layers = clock, len(net.space.costs.products) + 1
        folder = mkdtemp()
        finalize(self, rmtree, folder, ignore_errors=True)
        path, threads = Path(folder, "network.onnx"), torch.get_num_threads()
        example = images[0].cpu()
        write_onnx(model.cpu(), example.expand(max(2, len(example)), *example.shape[1:]), path)
        self.plain = open_session(path, threads)
        self.profiled = open_session(path, threads, profile=path.with_suffix(""))
        self.inputs = {self.plain.get_inputs()[0].name: example.numpy()}

    def warm_up(self) -> None:
        """One pass that is not timed."""
        self.plain.run(None, self.inputs)

    def whole(self) -> float:
        """The seconds of one pass, undisturbed."""
        start = self.clock()
        self.plain.run(None, self.inputs)
        return self.clock() - start

    def run(self) -> None:
        """One pass whose layers are timed."""
        self.profiled.run(None, self.inputs)

    def seconds(self) -> FloatArray:
        """Of all timed passes so far; layers in the order in which they ran. Shape: → (passes, L + 1)"""
        runs = profiled_seconds(self.profiled)
        for each in runs:
            _require_layers(len(each), self.layers)
        return np.array(runs)


def conditions(net: Structure, runtime: str = "torch") -> dict[str, Any]:
    """Where and with what a network is timed."""
    device = device_of(net.model)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    shapes = [list(example.shape) for example in net.examples]
    found = {"device": f"{device}, {name}", "threads": torch.get_num_threads(), "torch": torch.__version__}
    return {**found, "inputs": shapes, **({} if runtime == "torch" else {"runtime": runtime})}


def _require_layers(found: int, traced: int) -> None:
    if found != traced:
        raise SecateurError(
            f"the network runs {found - 1} products here and {traced - 1} when it is traced, so its "
            "layers can't be timed; pass --flops instead of --latency"
        )
