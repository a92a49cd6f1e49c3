"""Subnetworks built, saved and loaded: readable JSON beside safetensors; nothing is pickled."""

import json
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from ...digests import sealed
from ...errors import SecateurError
from ...files import commit, ensure_folder, writing
from ...signatures import checked
from ..subnetwork import Subnetwork
from ..supernet import Supernet
from ..surgery.slim import slim
from .schema import Architecture, Record, costs_of, fingerprint
from .tensors import write_network


def architecture(net: Supernet, subnetwork: Subnetwork, **about: Any) -> Record:
    """The architecture of a subnetwork as plain values; ``about`` adds any of the fields that may be missing."""
    return {**Architecture.of(net, subnetwork).to_dict(), **about}


@checked
def build(net: Supernet, subnetwork: Subnetwork, **about: Any) -> nn.Module:
    """A new, smaller network with the channels of ``subnetwork`` alone; the dense one is left as it is.

    Weights and running statistics are inherited. It is a plain module that needs nothing of this library; its
    architecture is a plain dictionary in ``.architecture``, which ``save`` writes.

    Args:
        net: The supernet.
        subnetwork: The channels to keep.
        about: More to write into the architecture: ``figures``, ``provenance``, ``normalisation``, ``training``,
            ``classes``.

    >>> import torch, secateur as sc
    >>> net = sc.Supernet.of(sc.constructor("resnet20", classes=10)(), torch.zeros(1, 3, 32, 32))
    >>> half = sc.Subnetwork.first(net.space.dense // 2)
    >>> slim = sc.slim(net, half)
    >>> slim.conv1
    Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
    >>> slim.architecture["groups"]["conv1"]["kept"]
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    return with_architecture(slim(net, subnetwork), architecture(net, subnetwork, **about))


def subnetwork_of(record: Architecture, net: Supernet) -> Subnetwork:
    """The subnetwork that an architecture describes. Raises SecateurError where it is not one of this network."""
    if record.fingerprint != fingerprint(net):
        classes = f", of {len(record.classes)} classes" if record.classes else ""
        raise SecateurError(
            f"the architecture is of another network ({record.model}, {record.fingerprint}) than "
            f"{type(net.model).__name__}, {fingerprint(net)}; pass the dense network it was found on{classes}"
        )
    if list(record.groups) != [group.name for group in net.groups]:
        raise SecateurError("the architecture's channel groups are not this network's; it was edited by hand")
    subnetwork = Subnetwork(tuple(tuple(group.kept) for group in record.groups.values()))
    net.check(subnetwork)
    if [group.width for group in record.groups.values()] != subnetwork.widths.tolist():
        raise SecateurError("a width in the architecture is not the number of its kept channels; it was edited by hand")
    same_inputs = record.inputs == [list(example.shape[1:]) for example in net.examples]
    if same_inputs and record.costs != (costs := costs_of(net, subnetwork)):
        raise SecateurError(
            f"the costs in the architecture ({msgspec.to_builtins(record.costs)}) are not those of its channels "
            f"({msgspec.to_builtins(costs)}); it was edited by hand"
        )
    return subnetwork


def architecture_of(model: nn.Module) -> Record:
    """The architecture that a slimmed network carries. Raises SecateurError where it carries none."""
    record = model.__dict__.get("architecture")
    if record is None:
        raise SecateurError("this network carries no architecture; pass one that secateur built or loaded")
    return dict(record)


def with_architecture(model: nn.Module, record: Record) -> nn.Module:
    """The same network, carrying this architecture (as ``.architecture``, a plain dictionary)."""
    model.__dict__["architecture"] = record
    return model


@checked
def save(model: nn.Module, folder: Path | str) -> None:
    """Write a slimmed network as architecture.json and weights.safetensors.

    Raises SecateurError where the network carries no architecture, or the folder cannot be made.

    Args:
        model: A network of ``slim``, ``finetune`` or ``load``.
        folder: Where to write; made where it is not there.

    >>> import tempfile, torch, secateur as sc
    >>> make = sc.constructor("resnet20", classes=10)
    >>> net = sc.Supernet.of(make(), torch.zeros(1, 3, 32, 32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sc.save(sc.slim(net, sc.Subnetwork.first(net.space.dense // 2)), folder)
    ...     sc.load(folder, base=make).linear
    Linear(in_features=32, out_features=10, bias=True)
    """
    record, folder = architecture_of(model), ensure_folder(folder)
    # both are complete before either is in place: a kill while writing leaves what was there before
    weights, text = folder / "weights.partial", folder / "architecture.partial"
    with writing(folder):
        write_network(model, weights)
        text.write_text(json.dumps(sealed(record), indent=1), encoding="utf-8")
    commit(weights, folder / "weights.safetensors")
    commit(text, folder / "architecture.json")
