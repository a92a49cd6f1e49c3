"""A slim network on disk, and the run that it is of."""

from dataclasses import dataclass
from pathlib import Path

from ..models.files.place import home_of

RUN = "run.json"


@dataclass(frozen=True)
class Kept:
    """The folder of a slim network, and the run that it is of: its winner or a point; None where it stands alone."""

    folder: Path
    run: Path | None

    @classmethod
    def at(cls, place: Path | str) -> "Kept":
        """What is meant by a run, its best/, a point of it, a folder with an architecture.json, or that file."""
        place = Path(place)
        if (place / RUN).exists():
            return cls(place / "best", place)
        home = home_of(place)
        above = home.resolve().parent
        if home.resolve().name == "best" and (above / RUN).exists():
            return cls(home, home.parent if home.parent.name else above)
        if above.name == "points" and (above.parent / RUN).exists():
            return cls(home, home.parent.parent if home.parent.parent.name else above.parent)
        return cls(home, None)

    @property
    def is_point(self) -> bool:
        """Whether it is a point of a run, and not its winner."""
        return self.run is not None and self.folder.resolve().parent.name == "points"
