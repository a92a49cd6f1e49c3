"""What a split holds, in a few digits: a replaced image makes it another data set."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Protocol

import torch
from torch import Tensor

from ..models.inputs import tensors
from ..models.zoo.normalisation import Normalisation
from .order import split_into

FEW = 64  # samples of a split that is not in memory
TOGETHER = 1024  # images that are read at once


class Held(Protocol):
    """A split whose samples can be read as they are."""

    @property
    def normalisation(self) -> Normalisation | None:
        """Of the channels, where pictures are decoded here."""

    def __len__(self) -> int:
        """The number of samples."""

    def at(self, positions: Tensor) -> Any:
        """These samples, as they are."""


def content_of(split: Held, *, in_memory: bool) -> str:
    """16 hex digits that change with the normalisation and any sample; with 64 of them where they are not in memory."""
    digest = blake2b(repr(split.normalisation).encode(), digest_size=8)
    few = torch.linspace(0, len(split) - 1, min(FEW, len(split))).round().long()
    parts: Iterable[Tensor] = split_into(torch.arange(len(split)), TOGETHER) if in_memory else [few]
    for positions in parts:
        for each in tensors(split.at(positions)):
            digest.update(each.numpy().tobytes())
    return digest.hexdigest()
