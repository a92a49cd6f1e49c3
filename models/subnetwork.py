"""A subnetwork: which channels of every group stay."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SecateurError
from .tracing.atoms import FloatArray, IntArray


@dataclass(frozen=True)
class Subnetwork:
    """The kept channels of each channel group, ascending. Hashable; one JSON line."""

    kept: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        for group, channels in enumerate(self.kept):
            if not channels:
                raise SecateurError(f"channel group {group} keeps no channel; keep at least one")
            if list(channels) != sorted(set(channels)) or channels[0] < 0:
                raise SecateurError(f"channel group {group} keeps {channels}; give ascending indices from 0 on")

    @classmethod
    def first(cls, widths: IntArray) -> "Subnetwork":
        """The first channels of every group, so many as its width says. Shape: widths (G,)"""
        return cls(tuple(tuple(range(width)) for width in widths.tolist()))

    @property
    def widths(self) -> IntArray:
        """How many channels of each group stay. Shape: (G,)"""
        return np.array([len(channels) for channels in self.kept], np.int64)

    @property
    def digest(self) -> str:
        """12 hex digits that no other subnetwork has, by any chance that matters."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """One line; ``from_json`` reads it back."""
        return json.dumps(self.kept, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Subnetwork":
        """The subnetwork that ``to_json`` wrote."""
        return cls(tuple(tuple(channels) for channels in json.loads(line)))


def top_channels(scores: Sequence[FloatArray], widths: IntArray) -> Subnetwork:
    """The channels of highest score in each group, so many as its width says; ties by index.

    Subnetworks of the same scores are nested. Shape: scores (width of the group,) each, widths (G,)
    """
    order = [np.argsort(-score, kind="stable") for score in scores]
    return Subnetwork(tuple(tuple(np.sort(o[:w]).tolist()) for o, w in zip(order, widths, strict=True)))
