"""Networks as ONNX files, and the sessions that run them on the CPU."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ...errors import SecateurError

OPSET = 18  # of ONNX; what its exporter is written for, others it converts to
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
Answer: TypeAlias = Callable[..., Any]  # inputs, in order → the output, or a tuple of several


def write_onnx(
    model: nn.Module,
    example: Tensor | Sequence[Tensor],
    path: Path,
    about: Mapping[str, str] | None = None,
    *,
    names: tuple[Sequence[str], Sequence[str]] = (("images",), ("logits",)),
) -> None:
    """Write a network for any number of images at once; ``about`` goes into the file as metadata.

    ``names``: of its inputs, tensors that it takes by position, and of its outputs.
    """
    for library in LIBRARIES:
        require_library(library)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "# The axis name")  # of several inputs: they share the batch, as they should
        program = torch.onnx.export(
            model,
            (example,) if isinstance(example, Tensor) else tuple(example),
            input_names=list(names[0]),
            output_names=list(names[1]),
            dynamic_shapes=({0: "batch"},) if isinstance(example, Tensor) else (tuple({0: "batch"} for _ in example),),
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
    names = [each.name for each in session.get_inputs()]

    def answer(*inputs: Tensor) -> Any:
        found = session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
        outputs = tuple(map(torch.from_numpy, found))
        return outputs[0] if len(outputs) == 1 else outputs

    return answer


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
