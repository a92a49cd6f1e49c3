"""Architectures on disk: readable JSON beside safetensors; nothing is pickled."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from .errors import SecateurError
from .slim import slim
from .subnetwork import Subnetwork
from .supernet import Supernet

FORMAT = "secateur/architecture/1"

Architecture: TypeAlias = dict[str, Any]  # plain JSON values, so that a network can carry it anywhere


def architecture(net: Supernet, subnetwork: Subnetwork, **about: Any) -> Architecture:
    """What it takes to build this subnetwork again; ``about`` adds figures, provenance, normalisation."""
    groups = {
        group.name: {"width": len(kept), "dense": group.width, "kept": list(kept)}
        for group, kept in zip(net.groups, subnetwork.kept, strict=True)
    }
    costs = {
        name: {"macs": net.macs(each), "parameters": net.parameters(each)}
        for name, each in (("dense", net.dense), ("kept", subnetwork))
    }
    return {
        "format": FORMAT,
        "model": type(net.model).__name__,
        "fingerprint": fingerprint(net),
        "inputs": [list(example.shape[1:]) for example in net.examples],
        "costs": costs,
        "tie": [list(pair) for pair in net.wishes.tie],
        "groups": groups,
        "frozen": {group.name: group.frozen for group in net.frozen},
        **about,
    }


def fingerprint(net: Supernet) -> str:
    """16 hex digits of the dense network's structure: its tensors' names and shapes and its groups."""
    structure = [sorted(net.shapes.items()), [(group.name, group.width) for group in net.groups]]
    return hashlib.sha256(json.dumps(structure).encode()).hexdigest()[:16]


def built(net: Supernet, subnetwork: Subnetwork, **about: Any) -> nn.Module:
    """The slimmed network, carrying its architecture as a plain dictionary in ``.architecture``."""
    return with_architecture(slim(net, subnetwork), architecture(net, subnetwork, **about))


def subnetwork_of(record: Architecture, net: Supernet) -> Subnetwork:
    """The subnetwork that an architecture names. Raises SecateurError where it is not one of this network."""
    if record.get("format") != FORMAT:
        raise SecateurError(
            f"architecture format {record.get('format')!r} is not {FORMAT!r}; write it with this version"
        )
    if record.get("fingerprint") != fingerprint(net):
        raise SecateurError(
            f"the architecture is of another network ({record.get('model')}, {record.get('fingerprint')}) than "
            f"{type(net.model).__name__}, {fingerprint(net)}; give the dense network it was found on"
        )
    groups = record.get("groups", {})
    if list(groups) != [group.name for group in net.groups]:
        raise SecateurError("the architecture's channel groups are not this network's; it was edited by hand")
    subnetwork = Subnetwork(tuple(tuple(group["kept"]) for group in groups.values()))
    net.check(subnetwork)
    if [group["width"] for group in groups.values()] != subnetwork.widths.tolist():
        raise SecateurError("a width in the architecture is not the number of its kept channels; it was edited by hand")
    return subnetwork


def architecture_of(model: nn.Module) -> Architecture:
    """The architecture that a slimmed network carries. Raises SecateurError where it carries none."""
    record = model.__dict__.get("architecture")
    if record is None:
        raise SecateurError("this network carries no architecture; give one that secateur built or loaded")
    return dict(record)


def with_architecture(model: nn.Module, record: Architecture) -> nn.Module:
    """The same network, carrying this architecture (as ``.architecture``, a plain dictionary)."""
    model.__dict__["architecture"] = record
    return model


def save(model: nn.Module, folder: Path | str) -> None:
    """Write a slimmed network as architecture.json and weights.safetensors."""
    record, folder = architecture_of(model), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # whole or not at all: a kill while writing leaves what was there before
    weights, text = folder / "weights.partial", folder / "architecture.partial"
    save_model(model, str(weights))
    text.write_text(json.dumps(record, indent=1))
    weights.replace(folder / "weights.safetensors")
    text.replace(folder / "architecture.json")


def load(folder: Path | str, base: Callable[[], nn.Module]) -> nn.Module:
    """The network that ``save`` wrote, in evaluation mode.

    ``base`` makes the dense network it was found on, weights or not.
    """
    folder = Path(folder)
    record = read(folder / "architecture.json")
    examples = tuple(torch.zeros(1, *shape) for shape in record["inputs"])
    net = Supernet.of(base(), examples, tie=[(one, other) for one, other in record["tie"]], check=False)
    net = net.freezing({g.name: "stayed whole" for g in net.groups if g.name in record.get("frozen", ())})
    model = with_architecture(slim(net, subnetwork_of(record, net)), record)
    try:
        load_model(model, str(folder / "weights.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        what = " ".join(" ".join(str(error).splitlines()[:2]).split())  # torch lists every tensor
        raise SecateurError(
            f"{folder / 'weights.safetensors'} does not fit its architecture.json ({what}); "
            "give the two files that were written together"
        ) from error
    return model.eval()


def read(path: Path) -> Architecture:
    """An architecture.json, as far as it can be checked without its network."""
    return checked(json_at(path), path)


def json_at(path: Path) -> Any:
    """What a JSON file says."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SecateurError(f"{path} is no architecture ({error}); give the folder that secateur wrote") from error


def checked(record: Any, path: Path) -> Architecture:
    """A record that was read from ``path``. Raises SecateurError where it is no architecture of this version."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise SecateurError(f"{path} is not of format {FORMAT!r}; give a file that this version wrote")
    if not (_are_inputs(record.get("inputs")) and _are_pairs(record.get("tie")) and _are_groups(record.get("groups"))):
        raise SecateurError(f"inputs, ties or channel groups in {path} are missing or broken; it was edited by hand")
    return record


def _are_inputs(inputs: Any) -> bool:
    return isinstance(inputs, list) and all(map(_whole_numbers, inputs))


def _are_pairs(tie: Any) -> bool:
    return isinstance(tie, list) and all(isinstance(pair, list) and list(map(type, pair)) == [str, str] for pair in tie)


def _are_groups(groups: Any) -> bool:
    return isinstance(groups, dict) and all(
        isinstance(group, dict)
        and _whole_numbers([group.get("width"), group.get("dense")])
        and _whole_numbers(group.get("kept"))
        and 0 < group["width"] <= group["dense"]
        for group in groups.values()
    )


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)
