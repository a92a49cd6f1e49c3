"""Architectures on disk: readable JSON beside safetensors; nothing is pickled."""

import hashlib
import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import torch
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from ...errors import SecateurError
from ...files import commit, ensure_folder
from ..subnetwork import Subnetwork
from ..supernet import Supernet
from ..surgery.slim import slim

FORMAT = "secateur/architecture/1"
WIDEST = 1 << 20  # channels of a group, and places along a dimension of an input: far above any network's
LARGEST_INPUT = 1 << 28  # numbers: a gigabyte of float32 is made to trace it

Width: TypeAlias = Annotated[int, Meta(ge=1, le=WIDEST)]
Channel: TypeAlias = Annotated[int, Meta(ge=0, lt=WIDEST)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 62)]
Shape: TypeAlias = Annotated[list[Width], Meta(max_length=8)]
Record: TypeAlias = dict[str, Any]  # plain JSON values, so that a network can carry it anywhere


class GroupRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A channel group: its dense width, and the channels that it keeps."""

    width: Width
    dense: Width
    kept: list[Channel]


class CostRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Multiply-accumulates of one image, and trainable numbers."""

    macs: Count
    parameters: Count


class CostRecords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The costs of the dense network and of the subnetwork."""

    dense: CostRecord
    kept: CostRecord


class Architecture(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag=FORMAT,
    tag_field="format",
):
    """All that it takes to build a subnetwork again, and what may be said of it: this is architecture.json.

    ``inputs`` are shapes without the batch; ``frozen`` maps the groups that stayed whole to their reasons. The fields
    from ``figures`` on may be missing.
    """

    model: str
    fingerprint: str
    inputs: Annotated[list[Shape], Meta(max_length=64)]
    costs: CostRecords
    tie: list[tuple[str, str]]
    groups: dict[str, GroupRecord]
    frozen: dict[str, str]
    figures: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None
    normalisation: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    classes: list[Any] | None = None

    def __post_init__(self) -> None:
        for name, group in self.groups.items():
            if group.width > group.dense:
                raise ValueError(f"group {name} keeps {group.width} of {group.dense} channels")
            if group.kept and group.kept[-1] >= group.dense:
                raise ValueError(f"channel {group.kept[-1]} is kept of group {name}, which has {group.dense}")
        if sum(map(prod, self.inputs)) > LARGEST_INPUT:
            raise ValueError(f"the inputs {self.inputs} hold more than {LARGEST_INPUT} numbers")

    def __repr__(self) -> str:
        kept, dense = self.costs.kept.macs, self.costs.dense.macs
        return f"Architecture({self.model}, groups={len(self.groups)}, macs={kept} of {dense})"

    @classmethod
    def of(cls, net: Supernet, subnetwork: Subnetwork) -> "Architecture":
        """The architecture of a subnetwork of this network."""
        pairs = zip(net.groups, subnetwork.kept, strict=True)
        return cls(
            model=type(net.model).__name__,
            fingerprint=fingerprint(net),
            inputs=[list(example.shape[1:]) for example in net.examples],
            costs=_costs(net, subnetwork),
            tie=list(net.constraints.tie),
            groups={group.name: GroupRecord(len(kept), group.width, list(kept)) for group, kept in pairs},
            frozen={group.name: str(group.frozen) for group in net.frozen},
        )

    @classmethod
    def from_dict(cls, record: Any, place: Path | str) -> "Architecture":
        """The architecture in a record that was read from ``place``.

        Raises SecateurError, in one line, where the record is no architecture of this version.
        """
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise SecateurError(f"{place} is not of format {FORMAT!r}; pass a file that this version wrote")
        if unknown := sorted(record.keys() - {"format", *cls.__struct_fields__}):
            raise SecateurError(f"{place} has keys that this version does not know ({', '.join(unknown)}); remove them")
        try:
            return msgspec.convert(record, cls)
        except msgspec.ValidationError as error:
            raise SecateurError(f"{place} has a missing or broken value: {error}; it was edited by hand") from error

    def to_dict(self) -> Record:
        """Plain values, as architecture.json holds them."""
        record: Record = msgspec.to_builtins(self)
        return {**record, "tie": [list(pair) for pair in self.tie]}


def architecture(net: Supernet, subnetwork: Subnetwork, **about: Any) -> Record:
    """The architecture of a subnetwork as plain values; ``about`` adds any of the fields that may be missing."""
    return {**Architecture.of(net, subnetwork).to_dict(), **about}


def fingerprint(net: Supernet) -> str:
    """16 hex digits of the dense network's structure: its tensors' names and shapes and its groups."""
    structure = [sorted(net.shapes.items()), [(group.name, group.width) for group in net.groups]]
    return hashlib.sha256(json.dumps(structure).encode()).hexdigest()[:16]


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
        raise SecateurError(
            f"the architecture is of another network ({record.model}, {record.fingerprint}) than "
            f"{type(net.model).__name__}, {fingerprint(net)}; pass the dense network it was found on"
        )
    if list(record.groups) != [group.name for group in net.groups]:
        raise SecateurError("the architecture's channel groups are not this network's; it was edited by hand")
    subnetwork = Subnetwork(tuple(tuple(group.kept) for group in record.groups.values()))
    net.check(subnetwork)
    if [group.width for group in record.groups.values()] != subnetwork.widths.tolist():
        raise SecateurError("a width in the architecture is not the number of its kept channels; it was edited by hand")
    if record.costs != (costs := _costs(net, subnetwork)):
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
    save_model(model, str(weights))
    text.write_text(json.dumps(record, indent=1), encoding="utf-8")
    commit(weights, folder / "weights.safetensors")
    commit(text, folder / "architecture.json")


def load(folder: Path | str, base: Callable[[], nn.Module]) -> nn.Module:
    """The network that ``save`` wrote, in evaluation mode.

    Raises SecateurError where the files are broken, do not fit each other, or are of another network.

    Args:
        folder: Holds architecture.json and weights.safetensors.
        base: Makes the dense network that the architecture was found on; its weights don't matter.

    >>> import tempfile, torch, secateur as sc
    >>> make = sc.constructor("vgg11_bn", classes=10)
    >>> net = sc.Supernet.of(make(), torch.zeros(1, 3, 32, 32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sc.save(sc.slim(net, sc.Subnetwork.first(net.space.dense // 4)), folder)
    ...     sc.load(folder, base=make).features[0].out_channels
    16
    """
    if isinstance(base, nn.Module) or not callable(base):
        raise SecateurError(f"base is a {type(base).__name__}; pass what makes the dense network: lambda: Net(...)")
    path = Path(folder) / "architecture.json"
    plain = json_at(path)
    record = Architecture.from_dict(plain, path)
    net = _dense(record, base)
    model = with_architecture(slim(net, subnetwork_of(record, net)), plain)
    _fill(model, Path(folder) / "weights.safetensors")
    return model.eval()


def read_architecture(path: Path) -> Architecture:
    """An architecture.json, as far as it can be checked without its network."""
    return Architecture.from_dict(json_at(path), path)


def json_at(path: Path) -> Any:
    """The value in a JSON file. Raises SecateurError where the file can't be read, or holds no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SecateurError(f"{path} is no architecture ({error}); pass the folder that secateur wrote") from error


def _dense(record: Architecture, base: Callable[[], nn.Module]) -> Supernet:
    """The dense network, its groups as they were when the architecture was found."""
    examples = tuple(torch.zeros(1, *shape) for shape in record.inputs)
    net = Supernet.of(base(), examples, tie=record.tie, check=False)
    return net.freezing({group.name: "stayed whole" for group in net.groups if group.name in record.frozen})


def _fill(model: nn.Module, path: Path) -> None:
    """Load the weights in ``path``. Raises SecateurError where they are not this network's."""
    try:
        load_model(model, str(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        first = " ".join(" ".join(str(error).splitlines()[:2]).split())  # torch lists every tensor
        raise SecateurError(
            f"{path} does not fit its architecture.json ({first}); pass the two files that were written together"
        ) from error


def _costs(net: Supernet, subnetwork: Subnetwork) -> CostRecords:
    dense, kept = (CostRecord(net.macs(each), net.parameters(each)) for each in (net.dense, subnetwork))
    return CostRecords(dense, kept)
