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

from ...errors import SecateurError
from ...files import ensure_folder
from ..subnetwork import Subnetwork
from ..supernet import Supernet
from ..surgery.slim import slim

FORMAT = "secateur/architecture/1"
ABOUT = ("figures", "provenance", "normalisation", "training", "classes")  # what may be said beside what is needed

Architecture: TypeAlias = dict[str, Any]  # plain JSON values, so that a network can carry it anywhere


def architecture(net: Supernet, subnetwork: Subnetwork, **about: Any) -> Architecture:
    """What it takes to build this subnetwork again; ``about`` adds any of ``ABOUT``."""
    groups = {
        group.name: {"width": len(kept), "dense": group.width, "kept": list(kept)}
        for group, kept in zip(net.groups, subnetwork.kept, strict=True)
    }
    return {
        "format": FORMAT,
        "model": type(net.model).__name__,
        "fingerprint": fingerprint(net),
        "inputs": [list(example.shape[1:]) for example in net.examples],
        "costs": _costs(net, subnetwork),
        "tie": [list(pair) for pair in net.constraints.tie],
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
    if record["costs"] != (costs := _costs(net, subnetwork)):
        raise SecateurError(
            f"the costs in the architecture ({record['costs']}) are not those of its channels ({costs}); "
            "it was edited by hand"
        )
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
    record, folder = architecture_of(model), ensure_folder(folder)
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
    if isinstance(base, nn.Module) or not callable(base):
        raise SecateurError(f"base is a {type(base).__name__}; give what makes the dense network: lambda: Net(...)")
    folder = Path(folder)
    record = read_architecture(folder / "architecture.json")
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


def read_architecture(path: Path) -> Architecture:
    """An architecture.json, as far as it can be checked without its network."""
    return validated(json_at(path), path)


def json_at(path: Path) -> Any:
    """What a JSON file says."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SecateurError(f"{path} is no architecture ({error}); give the folder that secateur wrote") from error


def validated(record: Any, path: Path) -> Architecture:
    """A record that was read from ``path``. Raises SecateurError where it is no architecture of this version."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise SecateurError(f"{path} is not of format {FORMAT!r}; give a file that this version wrote")
    broken = [name for name, sound in NEEDED.items() if not sound(record.get(name))]
    if broken:
        raise SecateurError(f"{', '.join(broken)} in {path}: missing or broken; it was edited by hand")
    if unknown := sorted(record.keys() - {"format", *NEEDED, *ABOUT}):
        raise SecateurError(f"{path} has keys that this version does not know ({', '.join(unknown)}); remove them")
    for name, group in record["groups"].items():
        if group["kept"] and group["kept"][-1] >= group["dense"]:
            fact = f"channel {group['kept'][-1]} is kept of group {name}, which has {group['dense']}"
            raise SecateurError(f"{fact}, in {path}; it was edited by hand")
    return record


def _costs(net: Supernet, subnetwork: Subnetwork) -> dict[str, dict[str, int]]:
    arms = {"dense": net.dense, "kept": subnetwork}
    return {name: {"macs": net.macs(each), "parameters": net.parameters(each)} for name, each in arms.items()}


def _are_inputs(inputs: Any) -> bool:
    return isinstance(inputs, list) and all(map(_whole_numbers, inputs))


def _are_pairs(tie: Any) -> bool:
    return isinstance(tie, list) and all(isinstance(pair, list) and list(map(type, pair)) == [str, str] for pair in tie)


def _are_groups(groups: Any) -> bool:
    return isinstance(groups, dict) and all(
        isinstance(group, dict)
        and group.keys() == {"width", "dense", "kept"}
        and _whole_numbers([group["width"], group["dense"]])
        and _whole_numbers(group["kept"])
        and 0 < group["width"] <= group["dense"]
        for group in groups.values()
    )


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _are_costs(costs: Any) -> bool:
    return isinstance(costs, dict) and all(
        isinstance(costs.get(arm), dict) and _whole_numbers([costs[arm].get("macs"), costs[arm].get("parameters")])
        for arm in ("dense", "kept")
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_reasons(frozen: Any) -> bool:
    return isinstance(frozen, dict) and all(map(_is_text, frozen.values()))


NEEDED: dict[str, Callable[[Any], bool]] = {
    "model": _is_text,
    "fingerprint": _is_text,
    "inputs": _are_inputs,
    "costs": _are_costs,
    "tie": _are_pairs,
    "groups": _are_groups,
    "frozen": _are_reasons,
}
