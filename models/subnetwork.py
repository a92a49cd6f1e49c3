"""A subnetwork: which channels of every group stay."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SecateurError
from ..signatures import fits
from .tracing.atoms import FloatArray, IntArray


@dataclass(frozen=True, repr=False)
class Subnetwork:
    """The kept channels of each channel group, ascending. Hashable; one line of JSON.

    Args:
        kept: The indices of the channels that stay, a tuple for each group in the order of ``Supernet.groups``.

    >>> import secateur as sc
    >>> subnetwork = sc.Subnetwork(((0, 2, 5), (1,)))
    >>> subnetwork.widths
    array([3, 1])
    >>> sc.Subnetwork.from_json(subnetwork.to_json()) == subnetwork
    True
    """

    kept: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not fits(self.kept, tuple[tuple[int, ...], ...]):
            raise SecateurError(f"kept={self.kept!r}: pass the channels of each group, such as ((0, 2, 5), (1,))")
        for group, channels in enumerate(self.kept):
            if not channels:
                raise SecateurError(f"channel group {group} keeps no channel; keep at least one")
            if list(channels) != sorted(set(channels)) or channels[0] < 0:
                raise SecateurError(f"channel group {group} keeps {channels}; pass ascending indices from 0 on")

    def __repr__(self) -> str:
        channels = sum(map(len, self.kept))
        return f"Subnetwork(groups={len(self.kept)}, channels={channels}, digest={self.digest!r})"

    @classmethod
    def first(cls, widths: IntArray) -> "Subnetwork":
        """The first channels of every group, as many as its width. Shape: widths (G,)"""
        return cls(tuple(tuple(range(width)) for width in widths.tolist()))

    @property
    def widths(self) -> IntArray:
        """The number of channels kept in each group. Shape: (G,)"""
        return np.array([len(channels) for channels in self.kept], np.int64)

    @property
    def digest(self) -> str:
        """12 hex digits of a hash of the kept channels, as a name for files."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """The kept channels as one line of JSON; ``from_json`` reads it back."""
        return json.dumps(self.kept, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Subnetwork":
        """The subnetwork that ``to_json`` wrote."""
        return cls(tuple(tuple(channels) for channels in json.loads(line)))


def top_channels(scores: Sequence[FloatArray], widths: IntArray) -> Subnetwork:
    """The subnetwork of the highest scores: as many channels of each group as its width; ties go to the lower index.

    Subnetworks of the same scores are nested. Shape: scores (width of the group,) each, widths (G,)
    """
    order = [np.argsort(-score, kind="stable") for score in scores]
    return Subnetwork(tuple(tuple(np.sort(o[:w]).tolist()) for o, w in zip(order, widths, strict=True)))
