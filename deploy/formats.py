"""Networks as files that other programs run: ONNX and PyTorch's own exported programs, each checked when written."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..errors import SecateurError
from ..files import ensure_folder
from ..models.inputs import tensors
from ..models.tasks.metric import first_of
from ..models.timing.onnx_file import OPSET, open_session, write_onnx

TOLERANCE = 1e-4  # of the largest output
BATCHES = (1, 3)  # that a file is checked on; it is written on 2
Answer: TypeAlias = Callable[[Tensor], Tensor]  # images → logits


@dataclass(frozen=True)
class Exported:
    """A file, and by how much its outputs differ from torch's: at most, and relative to the largest if below 1."""

    path: Path
    format: str
    opset: int | None
    inputs: tuple[str, ...]
    difference: float
    tolerance: float = TOLERANCE

    def __str__(self) -> str:
        kind = f"ONNX, opset {self.opset}" if self.opset else "torch.export"
        differs = f"differs from torch by {self.difference:.1e} at most (limit {self.tolerance:.0e})"
        return f"{self.path}: {kind}, input {' x '.join(self.inputs)}, normalised images\n{differs}"


def export_as(model: nn.Module, shape: Sequence[int], path: Path, about: Mapping[str, Any]) -> Exported:
    """Write a network in the format that ``path`` ends in, for any number of images at once, and check it.

    It is written as it answers on the CPU, in evaluation mode. ``about`` goes into the file, as JSON by key. Raises
    SecateurError, and leaves no file, where what was written answers otherwise than the network on random images.

    Shape: ``shape`` (channels, height, width) of one image
    """
    if path.suffix not in WRITERS:
        raise SecateurError(
            f"no format is called {path.suffix[1:]!r}; give {' or '.join(kind[1:] for kind in WRITERS)}"
        )
    ensure_folder(path.parent)
    model = model.cpu().eval()
    WRITERS[path.suffix](model, torch.zeros(2, *shape), path, {key: json.dumps(each) for key, each in about.items()})
    difference = max(_difference(model, READERS[path.suffix](path), _images(batch, shape)) for batch in BATCHES)
    if not difference <= TOLERANCE:
        path.unlink()
        raise SecateurError(
            f"{path} differs from torch by {difference:.2g} of the largest output, "
            f"more than {TOLERANCE:g}; it was not kept"
        )
    opset = OPSET if path.suffix == ".onnx" else None
    return Exported(path, path.suffix[1:], opset, ("batch", *map(str, shape)), difference)


def onnx_session(path: Path, threads: int = 0) -> Answer:
    """What answers as the ONNX file does, on the CPU; 0 threads are as many as onnxruntime likes."""
    session = open_session(path, threads)
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0])


def _write_pt2(model: nn.Module, example: Tensor, path: Path, about: Mapping[str, str]) -> None:
    program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, path, extra_files=dict(about))


def _read_pt2(path: Path) -> Answer:
    answer: Answer = torch.export.load(path).module()
    return answer


WRITERS: dict[str, Callable[[nn.Module, Tensor, Path, Mapping[str, str]], None]] = {
    ".onnx": write_onnx,
    ".pt2": _write_pt2,
}
READERS: dict[str, Callable[[Path], Answer]] = {".onnx": onnx_session, ".pt2": _read_pt2}


@torch.no_grad()
def _difference(model: nn.Module, other: Answer, images: Tensor) -> float:
    found = tensors(model(images))
    if len(found) != 1:
        raise SecateurError(f"the network returns {len(found)} tensors; export one that returns a single one")
    (expected,) = found
    return float((first_of(other(images)) - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def _images(count: int, shape: Sequence[int]) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(count))
