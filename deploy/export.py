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
        raise SecateurError(f"{folder} holds no slim network; pass a finished run, or a folder with architecture.json")
    record = read_architecture(kept / "architecture.json")
    if record.provenance is None or record.classes is None:
        raise SecateurError(f"{kept} does not say which network it is of; sc.load it with its constructor")
    return load(kept, constructor(record.provenance["model"], len(record.classes)))


def export(folder: Path | str, form: str = "onnx", out: Path | None = None) -> Exported:
    """Write the network of a run for other programs, checked against torch.

    It reads normalised images and returns logits; the normalisation, classes, figures and costs are in the file.

    Args:
        folder: a finished run, or any folder with an architecture.json.
        form: ``"onnx"`` or ``"pt2"``.
        out: the file; by default beside the weights.

    Returns:
        The path, and by how much the outputs differ from torch's. Raises SecateurError, and leaves no file, where they
        differ by more than a rounding error.

    >>> import secateur as sc, torch
    >>> model = sc.constructor("resnet20", 10)()
    >>> net = sc.Supernet.of(model.eval(), torch.zeros(1, 3, 32, 32))
    >>> names = [str(label) for label in range(10)]
    >>> sc.save(sc.slim(net, net.dense, provenance={"model": "resnet20"}, classes=names), "slim")
    >>> sc.export("slim", "pt2").format
    'pt2'
    """
    if out and out.suffix != f".{form}":
        raise SecateurError(f"{out} does not end in .{form}; pass --format {out.suffix[1:] or form}, or another file")
    model, folder = slim_of(folder), Path(folder)
    record = architecture_of(model)
    home = folder if (folder / "architecture.json").exists() else folder / "best"
    about = {key: record[key] for key in SHIPPED if key in record}
    return write(model, record["inputs"][0], out or home / f"model.{form}", about)
