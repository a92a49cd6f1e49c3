"""What architectures say about the network they were found on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SecateurError
from ..models.files.library import architectures
from ..models.files.schema import Architecture
from ..models.zoo.names import is_code

CLASSES, SHAPE = 10, (3, 32, 32)  # where a source says nothing


@dataclass(frozen=True)
class Origin:
    """What all architectures of a source agree on; None where they do not, or say nothing."""

    source: Path
    model: str | None
    classes: Sequence[str] | None
    inputs: Sequence[Sequence[int]] | None
    normalisation: dict[str, Any] | None

    @classmethod
    def of(cls, source: Path) -> "Origin":
        """What the architectures in a file, a run or a folder say."""
        records = architectures(source)
        best = source / "best"  # the points of a front do not repeat it
        told = [*records, *(architectures(best) if (best / "architecture.json").exists() else [])]
        return cls(
            source,
            _agreed([network_in(each) for each in told]),
            _agreed([each.classes for each in told]),
            _agreed([each.inputs for each in told]),
            _agreed([each.normalisation for each in told]),
        )

    @property
    def network(self) -> str:
        """The name of the network. Raises SecateurError where it is not known, or somebody's code."""
        if self.model is None:
            raise SecateurError(f"{self.source} does not say which network it is of; pass MODEL after it")
        if is_code(self.model):
            fact = f"{self.source} names the code {self.model}, and what a file names is not run"
            raise SecateurError(f"{fact}; if you trust it, type it after {self.source}")
        return self.model

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the input, without the batch."""
        return tuple(self.inputs[0]) if self.inputs else SHAPE

    def classes_as(self, count: int | None) -> list[str]:
        """The names of the classes where they are as many as are asked for; else numbers."""
        if self.classes and count in (None, len(self.classes)):
            return list(self.classes)
        return list(map(str, range(CLASSES if count is None else count)))


def network_in(record: Architecture) -> str | None:
    """The name of the network, as it was typed."""
    name = (record.provenance or {}).get("model")
    return name if isinstance(name, str) else None


def _agreed(values: Sequence[Any]) -> Any:
    """The one value of all that have any."""
    said = [value for value in values if value]
    return said[0] if said and all(value == said[0] for value in said) else None
