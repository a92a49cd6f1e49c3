"""Where a network is kept: a folder of architecture.json and weights.safetensors, alone or as best/ of a run."""

from pathlib import Path

from ..zoo.names import OURS

ARCHITECTURE = "architecture.json"
WEIGHTS = "weights.safetensors"


def home_of(place: Path | str) -> Path:
    """The folder of the architecture.json that is meant: the place itself, its best/, or around the file itself."""
    place = Path(place)
    if place.name == ARCHITECTURE:
        return place.parent
    return place / "best" if not (place / ARCHITECTURE).exists() and (place / "best" / ARCHITECTURE).exists() else place


def is_kept(name: Path | str) -> bool:
    """Whether this names a network that is kept, and none of the library."""
    return str(name) not in OURS and (home_of(name) / ARCHITECTURE).is_file()
