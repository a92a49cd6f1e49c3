"""The schema of architecture.json: one typed definition, written and checked on load."""

import hashlib
import json
from math import prod
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from ...errors import SecateurError
from ...files import read_json
from ..structure import Structure
from ..subnetwork import Subnetwork
from .arguments import DTYPES, plain_arguments, plain_dtypes, shapes_in

FORMAT = "secateur/architecture/1"
WIDEST = 1 << 20  # channels of a group, and places along a dimension of an input: far above any network's
MOST_CLASSES = 1 << 17  # six times those of all of ImageNet; each is an output of the network that is built
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
    from ``figures`` on may be missing: ``arguments`` where the inputs are tensors one after the other, ``dtypes`` where
    they are float32.
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
    classes: Annotated[list[Any], Meta(max_length=MOST_CLASSES)] | None = None
    arguments: dict[str, Any] | None = None
    dtypes: list[str] | None = None

    def __post_init__(self) -> None:
        for name, group in self.groups.items():
            if group.width > group.dense:
                raise ValueError(f"group {name} keeps {group.width} of {group.dense} channels")
            if group.kept and group.kept[-1] >= group.dense:
                raise ValueError(f"channel {group.kept[-1]} is kept of group {name}, which has {group.dense}")
        if sum(map(prod, self.inputs)) > LARGEST_INPUT:
            raise ValueError(f"the inputs {self.inputs} hold more than {LARGEST_INPUT} numbers")
        _require_arguments(self.arguments, self.dtypes, self.inputs)

    def __repr__(self) -> str:
        kept, dense = self.costs.kept.macs, self.costs.dense.macs
        return f"Architecture({self.model}, groups={len(self.groups)}, macs={kept} of {dense})"

    @classmethod
    def of(cls, net: Structure, subnetwork: Subnetwork) -> "Architecture":
        """The architecture of a subnetwork of this network."""
        pairs = zip(net.groups, subnetwork.kept, strict=True)
        return cls(
            model=type(net.model).__name__,
            fingerprint=fingerprint(net),
            inputs=[list(example.shape[1:]) for example in net.examples],
            costs=costs_of(net, subnetwork),
            tie=list(net.constraints.tie),
            groups={group.name: GroupRecord(len(kept), group.width, list(kept)) for group, kept in pairs},
            frozen={group.name: str(group.frozen) for group in net.frozen},
            arguments=plain_arguments(net),
            dtypes=plain_dtypes(net),
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


def fingerprint(net: Structure) -> str:
    """16 hex digits of the dense network's structure: its tensors' names and shapes and its groups."""
    structure = [sorted(net.shapes.items()), [(group.name, group.width) for group in net.groups]]
    return hashlib.sha256(json.dumps(structure).encode()).hexdigest()[:16]


def costs_of(net: Structure, subnetwork: Subnetwork) -> CostRecords:
    """The costs of the dense network and of the subnetwork."""
    dense, kept = (CostRecord(net.macs(each), net.parameters(each)) for each in (net.dense, subnetwork))
    return CostRecords(dense, kept)


def _require_arguments(arguments: Any, dtypes: list[str] | None, inputs: list[Shape]) -> None:
    """Raise ValueError unless these say how to call a network on so many inputs."""
    if arguments is not None:
        shapes = list(shapes_in(arguments))
        pair = arguments.get("tuple", [])
        if [[*each] if isinstance(each, dict) else each for each in pair] != [["tuple"], ["dict"]]:
            raise ValueError("the arguments are no pair of a tuple and keywords")
        if [shape[1:] for shape in shapes] != inputs or sum(map(prod, shapes)) > LARGEST_INPUT:
            raise ValueError(f"the arguments hold tensors of {shapes}, and the inputs are {inputs}")
    if dtypes is not None and (len(dtypes) != len(inputs) or not DTYPES.keys() >= {*dtypes}):
        raise ValueError(f"the dtypes {dtypes} are not those of {len(inputs)} inputs")


def read_architecture(path: Path) -> Architecture:
    """An architecture.json, as far as it can be checked without its network."""
    return Architecture.from_dict(json_at(path), path)


def json_at(path: Path) -> Any:
    """The value in a JSON file. Raises SecateurError where the file can't be read, or holds no JSON."""
    return read_json(path, "is no architecture", "pass the folder that secateur wrote")
