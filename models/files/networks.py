"""Networks that were kept, loaded again, and taken wherever a network is named."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from ...errors import SecateurError
from ...signatures import checked
from ..supernet import Supernet
from ..surgery.slim import slim
from ..zoo.names import is_pretrained, require_no_code, untrained
from ..zoo.normalisation import WHOLE, Crop, Normalisation, crop_of, normalisation_of
from ..zoo.registry import Constructor, constructor
from .architecture import subnetwork_of, with_architecture
from .arguments import example_of
from .place import ARCHITECTURE, WEIGHTS, home_of, is_kept
from .schema import Architecture, json_at, read_architecture
from .tensors import read_network

Base: TypeAlias = Callable[[], nn.Module] | str | None


@checked
def load(folder: Path | str, base: Base = None) -> nn.Module:
    """The network that ``save`` wrote, in evaluation mode.

    Raises SecateurError where the files are broken, do not fit each other, or are of another network.

    Args:
        folder: A finished run, or any folder of architecture.json and weights.safetensors.
        base: Makes the dense network that the architecture was found on, or names it as on the command line; its
            weights don't matter. By default the network of this package, torchvision or timm that the file names; code
            that a file names is not run.

    >>> import tempfile, torch, secateur as sc
    >>> make = sc.constructor("vgg11_bn", classes=10)
    >>> net = sc.Supernet.of(make(), torch.zeros(1, 3, 32, 32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sc.save(sc.slim(net, sc.Subnetwork.first(net.space.dense // 4)), folder)
    ...     sc.load(folder, base=make).features[0].out_channels
    16
    """
    if isinstance(base, nn.Module) or not (base is None or isinstance(base, str) or callable(base)):
        raise SecateurError(f"base is a {type(base).__name__}; pass what makes the dense network: lambda: Net(...)")
    home = home_of(folder)
    path = home / ARCHITECTURE
    plain = json_at(path)
    record = Architecture.from_dict(plain, path)
    net = _dense(record, base if callable(base) else _named(record, path, base))
    model = with_architecture(slim(net, subnetwork_of(record, net)), plain)
    fix = "pass the two files that were written together"
    read_network(model, home / WEIGHTS, "does not fit its architecture.json", fix)
    return model.eval()


def network_called(name: str, classes: int) -> Constructor:
    """What makes the network of this name: one of the zoo's, or one that is kept in the folder of this name."""
    if not is_kept(name):
        return constructor(name, classes)
    theirs = classes_of(name)
    if theirs is not None and len(theirs) != classes:
        raise SecateurError(
            f"{name} was built for {len(theirs)} classes and not {classes}; "
            f"build it for yours: secateur reuse {name} --classes {classes} --out DIR"
        )
    return partial(load, name)


def require_network(name: str) -> None:
    """Raise SecateurError where no network has this name; nothing is built, and no weights are fetched."""
    if is_kept(name):
        read_architecture(home_of(name) / ARCHITECTURE)
    elif not is_pretrained(name):  # whose number of classes has to be right
        constructor(name, 1)


@dataclass(frozen=True)
class Intake:
    """What a network reads: (channels, height, width) where known, and how pictures are normalised and cropped."""

    shape: tuple[int, int, int] | None
    normalisation: Normalisation
    crop: Crop = WHOLE


def intake_of(name: str) -> Intake:
    """What the network of this name reads; a kept one says it in its architecture.

    >>> intake_of("resnet20").shape is None
    True
    """
    if not is_kept(name):
        return Intake(None, normalisation_of(name), crop_of(name))
    record = read_architecture(home_of(name) / ARCHITECTURE)
    first = record.inputs[0] if record.inputs else []
    shape = (first[0], first[1], first[2]) if len(first) == 3 else None
    return Intake(shape, _normalisation(record.normalisation or {}))


def classes_of(name: str) -> list[str] | None:
    """The names of the classes that a kept network is for; None where it does not say, and of other networks."""
    return read_architecture(home_of(name) / ARCHITECTURE).classes if is_kept(name) else None


def _normalisation(said: dict[str, Any]) -> Normalisation:
    """What an architecture says; ImageNet's where it says nothing about three channels."""
    found = [said.get("mean"), said.get("std")]
    if all(isinstance(each, list) and len(each) == 3 and all(isinstance(x, float) for x in each) for each in found):
        return Normalisation(*map(tuple, found))  # type: ignore[arg-type]
    return Normalisation()


def _named(record: Architecture, path: Path, typed: str | None) -> Constructor:
    """What makes the dense network of an architecture, untrained."""
    named = typed or (record.provenance or {}).get("model")
    if not isinstance(named, str) or record.classes is None:
        fix = "pass what makes it: base=lambda: Net(...)"
        raise SecateurError(f"{path.parent} does not say which network it is of; {fix}")
    if typed is None:
        require_no_code(named, path)
    if is_kept(named) and home_of(named).resolve() == path.parent.resolve():
        raise SecateurError(f"{path} names itself as its dense network; it was edited by hand")
    return network_called(untrained(named), len(record.classes))


def _dense(record: Architecture, base: Callable[[], nn.Module]) -> Supernet:
    """The dense network, its groups as they were when the architecture was found."""
    example = example_of(record.arguments, record.inputs, record.dtypes)
    net = Supernet.of(base(), example, tie=record.tie, check=False)
    return net.freezing({group.name: "stayed whole" for group in net.groups if group.name in record.frozen})
