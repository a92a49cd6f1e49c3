"""Architectures found before: read from files, transferred to another network, and the most similar of many."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...errors import SecateurError
from ..costs.budget import Budget
from ..costs.widths import uniform_widths
from ..supernet import Supernet
from ..tracing.atoms import FloatArray, IntArray
from .schema import Architecture, json_at, read_architecture

FORMAT = "secateur/front/1"
DEPTHS = 32  # places along the depth at which the shape of widths is taken


def architectures(path: Path) -> list[Architecture]:
    """The architectures of an architecture.json, of a run directory (its winner, then its front), or below a folder.

    Raises SecateurError where there is none, or one is broken.
    """
    if path.is_file():
        return [read_architecture(path)]
    if (path / "front.json").exists():
        return list(_of_front(path / "front.json"))
    if (path / "architecture.json").exists():
        return [read_architecture(path / "architecture.json")]
    kept = [file for file in sorted(path.rglob("*.json")) if file.name in ("front.json", "architecture.json")]
    runs = {file.parent for file in kept if file.name == "front.json"}
    alone = [file for file in kept if file.name == "architecture.json" and not runs & {*file.parents}]
    found = [each for run in sorted(runs) for each in architectures(run)] + [read_architecture(file) for file in alone]
    if not found:
        raise SecateurError(f"{path} holds no architecture; pass a run directory or an architecture.json")
    return found


def keep_shares(record: Architecture, net: Supernet) -> FloatArray:
    """The share of each channel group of ``net`` that an architecture keeps; a group unknown to it stays whole.

    Groups form a series where their names differ in block numbers alone: ``layer1.*.conv1``. The shares of a series
    are interpolated over its depth, so that they fit a network of more blocks, or fewer; weights, data and widths may
    differ. Raises SecateurError where no group is known. Shape: → (G,)
    """
    known: dict[str, list[float]] = {}
    for name, group in record.groups.items():
        known.setdefault(_series(name), []).append(group.width / group.dense)
    names = [_series(group.name) for group in net.groups]
    if not known.keys() & {*names}:
        raise SecateurError(
            f"the architecture ({record.model}) shares no channel group with this network; "
            "pass one that was found on the same kind of network"
        )
    found = np.ones(len(names))
    for series in known.keys() & {*names}:
        places = [place for place, name in enumerate(names) if name == series]
        found[places] = _over_depth(known[series], len(places))
    return found


def nearest_by_widths(
    records: Sequence[Architecture], net: Supernet, widths: IntArray, count: int
) -> list[Architecture]:
    """The ``count`` architectures whose widths over depth are nearest to ``widths`` of ``net``, the nearest first.

    Widths are relative to a network's widest group, so that the distance reflects shape and budget. Architectures
    without a channel group in common with ``net`` are left out, unless all are. Shape: widths (G,)
    """
    import faiss

    mine = {_series(group.name) for group in net.groups}
    comparable = [record for record in records if mine & set(map(_series, record.groups))]
    comparable = comparable or [record for record in records if record.groups]
    if not comparable:
        raise SecateurError("no architecture has a channel group; pass others")
    index = faiss.IndexFlatL2(DEPTHS)
    index.add(np.stack([_shape_of(record) for record in comparable]))
    wanted = _over_depth(widths / net.space.dense.max(), DEPTHS).astype(np.float32)
    _, found = index.search(wanted[None], min(count, len(comparable)))
    return [comparable[place] for place in found[0]]


def most_similar(records: Sequence[Architecture], net: Supernet, budget: Budget, count: int) -> list[Architecture]:
    """The ``count`` architectures most similar to uniform widths at a budget, the most similar first."""
    return nearest_by_widths(records, net, uniform_widths(net.space, budget), count)


def _shape_of(record: Architecture) -> FloatArray:
    """Widths over depth. Shape: → (DEPTHS,) float32"""
    groups = record.groups.values()
    widest = max(group.dense for group in groups)
    return _over_depth([group.width / widest for group in groups], DEPTHS).astype(np.float32)


def _over_depth(values: Sequence[float] | FloatArray, count: int) -> FloatArray:
    """``values``, spread evenly over the depth, interpolated at ``count`` even places. Shape: (N,) → (count,)"""
    at, given = np.linspace(0, 1, count), np.linspace(0, 1, len(values))
    return np.asarray(np.interp(at, given, values))


def _series(name: str) -> str:
    """A name without its block numbers: ``layer1.2.conv1`` belongs to ``layer1.*.conv1``."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", name)


def _of_front(path: Path) -> Iterator[Architecture]:
    front = json_at(path)
    points = front.get("points") if isinstance(front, dict) and front.get("format") == FORMAT else None
    if not isinstance(points, list) or not points:
        raise SecateurError(f"{path} is not of format {FORMAT!r}; pass a finished run")
    for point in ([front["winner"]] if "winner" in front else []) + points:
        yield Architecture.from_dict(point, path)
