"""The slim network of a run, as it is kept and as it is shipped."""

from pathlib import Path

from torch import nn

from ..errors import SecateurError
from ..models.files.architecture import architecture_of, load
from ..models.files.schema import read_architecture
from ..models.zoo.registry import constructor
from .formats import Exported
from .formats import export_as as write

SHIPPED = ("classes", "normalisation", "figures", "costs")  # of an architecture, what goes with the network


def slim_of(folder: Path | str) -> nn.Module:
    """The network of a finished run, or of one folder with its architecture.json, which it carries."""
    folder = Path(folder)
    kept = folder if (folder / "architecture.json").exists() else folder / "best"
    if not (kept / "architecture.json").exists():
        raise SecateurError(f"{folder} holds no slim network; give a finished run, or a folder with architecture.json")
    record = read_architecture(kept / "architecture.json")
    if record.provenance is None or record.classes is None:
        raise SecateurError(f"{kept} does not say which network it is of; sc.load it with its constructor")
    return load(kept, constructor(record.provenance["model"], len(record.classes)))


def export(folder: Path | str, form: str = "onnx", out: Path | None = None) -> Exported:
    """Write the network of a run as ``onnx`` or ``pt2``, beside its weights or to ``out``, checked against torch.

    It reads normalised images and gives logits; how to normalise, the classes, figures and costs are in the file.
    """
    if out and out.suffix != f".{form}":
        raise SecateurError(f"{out} does not end in .{form}; give --format {out.suffix[1:] or form}, or another file")
    model, folder = slim_of(folder), Path(folder)
    record = architecture_of(model)
    home = folder if (folder / "architecture.json").exists() else folder / "best"
    about = {key: record[key] for key in SHIPPED if key in record}
    return write(model, record["inputs"][0], out or home / f"model.{form}", about)
