"""Networks as files that other programs run: ONNX and PyTorch's own exported programs, each checked when written."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SecateurError
from ..files import ensure_folder
from ..models.inputs import Inputs, tensors
from ..models.timing.onnx_file import OPSET, Answer, onnx_session, write_onnx
from .positional import Positional

TOLERANCE = 1e-4  # of the largest output
BATCHES = (1, 3)  # that a file is checked on; it is written on 2


@dataclass(frozen=True)
class Exported:
    """A file, and by how much its outputs differ from torch's: at most, and relative to the largest if below 1."""

    path: Path
    format: str
    opset: int | None
    inputs: tuple[str, ...]
    difference: float
    others: int = 0  # inputs beside the first
    tolerance: float = TOLERANCE

    def __str__(self) -> str:
        kind = f"ONNX, opset {self.opset}" if self.opset else "torch.export"
        differs = f"differs from torch by {self.difference:.1e} at most (limit {self.tolerance:.0e})"
        more = f" and {self.others} more" if self.others else ""
        return f"{self.path}: {kind}, input {' x '.join(self.inputs)}{more}, normalised images\n{differs}"


def export_as(model: nn.Module, inputs: Inputs, path: Path, about: Mapping[str, Any]) -> Exported:
    """Write a network in the format that ``path`` ends in, for any number of samples at once, and check it.

    It is written as it answers on the CPU, in evaluation mode; of several inputs and outputs as a network of tensors in
    order, under the names that dictionaries have. ``about`` goes into the file, as JSON by key. Raises SecateurError,
    and leaves no file, where what was written answers otherwise than the network on random inputs.

    ``inputs``: one sample of what the network is called with; or (channels, height, width) of one image.
    """
    if path.suffix not in WRITERS:
        raise SecateurError(
            f"no format is called {path.suffix[1:]!r}; pass {' or '.join(kind[1:] for kind in WRITERS)}"
        )
    ensure_folder(path.parent)
    plain = Positional.of(model.cpu().eval(), _sample(inputs))
    WRITERS[path.suffix](plain, path, {key: json.dumps(each) for key, each in about.items()})
    difference = max(_difference(plain, READERS[path.suffix](path), batch) for batch in BATCHES)
    if not difference <= TOLERANCE:
        path.unlink()
        raise SecateurError(
            f"{path} differs from torch by {difference:.2g} of the largest output, "
            f"more than {TOLERANCE:g}; it was not kept"
        )
    opset, (first, *others) = OPSET if path.suffix == ".onnx" else None, plain.example
    return Exported(path, path.suffix[1:], opset, ("batch", *map(str, first.shape[1:])), difference, len(others))


def _write_onnx(plain: Positional, path: Path, about: Mapping[str, str]) -> None:
    if plain.is_single:
        write_onnx(plain.network, plain.samples(2)[0], path, about)
    else:
        write_onnx(plain.network, plain.samples(2), path, about, names=plain.names)


def _write_pt2(plain: Positional, path: Path, about: Mapping[str, str]) -> None:
    example, batch = plain.samples(2), torch.export.Dim("batch")
    dynamic: Any = ({0: batch},) if plain.is_single else (tuple({0: batch} for _ in example),)
    program = torch.export.export(plain.network, tuple(example), dynamic_shapes=dynamic)
    torch.export.save(program, path, extra_files=dict(about))


def _read_pt2(path: Path) -> Answer:
    answer: Answer = torch.export.load(path).module()
    return answer


WRITERS: dict[str, Callable[[Positional, Path, Mapping[str, str]], None]] = {".onnx": _write_onnx, ".pt2": _write_pt2}
READERS: dict[str, Callable[[Path], Answer]] = {".onnx": onnx_session, ".pt2": _read_pt2}


@torch.no_grad()
def _difference(plain: Positional, other: Answer, batch: int) -> float:
    """The largest over outputs, relative to each one's largest number."""
    inputs = plain.samples(batch)
    pairs = zip(tensors(plain.network(*inputs)), tensors(other(*inputs)), strict=True)
    return max(float((found - ours).abs().max() / ours.abs().max().clamp_min(1e-12)) for ours, found in pairs)


def _sample(inputs: Inputs) -> Inputs:
    if isinstance(inputs, Tensor) or tensors(inputs):
        return inputs
    return torch.zeros(1, *inputs)
