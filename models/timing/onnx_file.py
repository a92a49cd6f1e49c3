"""Networks as ONNX files, and the sessions that run them on the CPU."""

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ...errors import SecateurError

OPSET = 18  # of ONNX; what its exporter is written for, others it converts to
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
Answer: TypeAlias = Callable[[Tensor], Tensor]  # images → logits


def write_onnx(model: nn.Module, example: Tensor, path: Path, about: Mapping[str, str] | None = None) -> None:
    """Write a network for any number of images at once; ``about`` goes into the file as metadata."""
    for library in LIBRARIES:
        require_library(library)
    program = torch.onnx.export(
        model,
        (example,),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch"},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(about or {})
    program.save(path)


def open_session(path: Path, threads: int = 0, *, profile: Path | None = None) -> Any:
    """An onnxruntime session on the CPU, all graph optimisations on: batch norm is folded, constants are computed once.

    0 threads are as many as onnxruntime likes. ``profile``: the prefix of the file that it writes the seconds of every
    operation to.
    """
    require_library("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def onnx_session(path: Path, threads: int = 0) -> Answer:
    """What answers as the ONNX file does, on the CPU; 0 threads are as many as onnxruntime likes."""
    session = open_session(path, threads)
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0])


def profiled_seconds(session: Any) -> list[list[float]]:
    """The seconds of each run of a profiled session: before the first product, and of each with what runs behind it.

    Products are convolutions and matrix products, in the order in which they ran. The profile is read and deleted.
    Shape: → (runs, products + 1)
    """
    path, runs, seconds = Path(session.end_profiling()), [], [0.0]
    for event in json.loads(path.read_text()):
        if event["name"] == "model_run":
            runs.append(seconds)
            seconds = [0.0]
        elif event["name"].endswith("_kernel_time"):
            seconds += [0.0] if event["args"]["op_name"].removeprefix("Fused") in PRODUCTS else []
            seconds[-1] += 1e-6 * event["dur"]
    path.unlink()
    return runs


def require_library(library: str) -> None:
    """Raise SecateurError where an optional library is not installed."""
    if find_spec(library) is None:
        raise SecateurError(f"{library} is not installed; pip install 'secateur[onnx]'")
