"""Architectures that were found before, as starts of another search."""

from pathlib import Path

import numpy as np

from .architecture import Architecture, checked, json_at, read
from .atoms import FloatArray
from .errors import SecateurError
from .supernet import Supernet

FORMAT = "secateur/front/1"


def architectures(path: Path) -> list[Architecture]:
    """Those in an architecture.json, in the folder of one, or on the front of a run directory."""
    if path.is_file():
        return [read(path)]
    if (path / "front.json").exists():
        front = json_at(path / "front.json")
        points = front.get("points") if isinstance(front, dict) and front.get("format") == FORMAT else None
        if not isinstance(points, list) or not points:
            raise SecateurError(f"{path / 'front.json'} is not of format {FORMAT!r}; give a finished run")
        return [checked(point, path / "front.json") for point in points]
    if (path / "architecture.json").exists():
        return [read(path / "architecture.json")]
    raise SecateurError(f"{path} holds no architecture; give a run directory or an architecture.json")


def shares(record: Architecture, net: Supernet) -> FloatArray:
    """The share of each channel group that an architecture keeps; a group it does not know stays whole.

    Weights and data may be others, and the widths, as long as the groups have their names. Shape: → (G,)
    """
    groups = record["groups"]
    known = [group.name for group in net.groups if group.name in groups]
    if not known:
        raise SecateurError(
            f"the architecture ({record.get('model')}) shares no channel group with this network; "
            "give one that was found on the same kind of network"
        )
    parts = (groups.get(group.name, {"width": 1, "dense": 1}) for group in net.groups)
    return np.array([part["width"] / part["dense"] for part in parts])
