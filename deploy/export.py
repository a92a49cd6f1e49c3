"""The slim network of a run, as it is kept and as it is shipped."""

from pathlib import Path

from torch import nn

from ..errors import SecateurError
from ..models.files.architecture import architecture_of
from ..models.files.arguments import example_of
from ..models.files.networks import Base, load
from ..models.files.place import ARCHITECTURE, home_of
from ..signatures import checked
from .formats import Exported
from .formats import export_as as write

SHIPPED = ("classes", "normalisation", "figures", "costs")  # of an architecture, what goes with the network


def slim_of(folder: Path | str, base: Base = None) -> nn.Module:
    """The network of a finished run, or of one folder with its architecture.json, which it carries.

    ``base`` as of ``load``. Raises SecateurError where it holds none.
    """
    if not (home_of(folder) / ARCHITECTURE).exists():
        raise SecateurError(f"{folder} holds no slim network; pass a finished run, or a folder with architecture.json")
    return load(folder, base)


@checked
def export(folder: Path | str, form: str = "onnx", out: Path | str | None = None, *, base: Base = None) -> Exported:
    """Write the network of a run for other programs, checked against torch.

    It reads normalised images and returns logits; the normalisation, classes, figures and costs are in the file.

    Args:
        folder: a finished run, or any folder with an architecture.json.
        form: ``"onnx"`` or ``"pt2"``.
        out: the file; by default beside the weights.
        base: makes the dense network, where it is of the user's own code, or names it as on the command line.

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
    out = out and Path(out)
    if out and out.suffix != f".{form}":
        raise SecateurError(f"{out} does not end in .{form}; pass --format {out.suffix[1:] or form}, or another file")
    model, home = slim_of(folder, base), home_of(folder)
    record = architecture_of(model)
    about = {key: record[key] for key in SHIPPED if key in record}
    example = example_of(record.get("arguments"), record["inputs"], record.get("dtypes"))
    inputs = example[0] if isinstance(example, tuple) and len(example) == 1 else example
    return write(model, inputs, out or home / f"model.{form}", about)
