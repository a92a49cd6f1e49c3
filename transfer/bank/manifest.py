"""The manifest of a memory bank: its teachers, and the data that they ran on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import SecateurError, in_a_line
from ...files import alone, ensure_folder, read_json, write_json
from ...models.subnetwork import Subnetwork

MANIFEST = "bank.json"  # of the winner's bank; other points of the front have their own beside it
FIRST = "run secateur search first"
FORMAT = "secateur/bank/1"


@dataclass(frozen=True)
class Teacher:
    """An interim subnetwork that was chosen for the bank, with its holdout loss and cost."""

    subnetwork: Subnetwork
    loss: float
    macs: int

    def to_json(self) -> dict[str, Any]:
        """The teacher as plain values."""
        return {"kept": self.subnetwork.kept, "loss": self.loss, "macs": self.macs}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Teacher":
        """The teacher of an entry that ``to_json`` made."""
        return cls(Subnetwork(tuple(map(tuple, entry["kept"]))), float(entry["loss"]), int(entry["macs"]))


@dataclass(frozen=True)
class BankLocation:
    """Where a bank is, and on which data it must have been filled.

    Args:
        folder: The folder of the bank's files.
        fingerprint: Of the data set.
        manifest: The name of the file that lists the teachers.
    """

    folder: Path
    fingerprint: str
    manifest: str = MANIFEST

    @property
    def path(self) -> Path:
        """The file that lists the teachers."""
        return self.folder / self.manifest


@dataclass(frozen=True)
class BankManifest:
    """The teachers of a bank, best first, and the fingerprint of the data that they ran on."""

    fingerprint: str
    teachers: tuple[Teacher, ...]

    @classmethod
    def enter(cls, location: BankLocation, teachers: Sequence[Teacher]) -> None:
        """Write the teachers of a bank that is to be filled; of processes that share the folder one after another.

        Raises SecateurError where the bank that is there is of other data.
        """
        ensure_folder(location.folder)
        with alone(location.path.with_suffix(".lock")):
            if location.path.exists():
                cls.read(location)
            cls(location.fingerprint, tuple(teachers)).write(location.path)

    def write(self, path: Path) -> None:
        """Write the manifest as JSON, whole or not at all."""
        teachers = [teacher.to_json() for teacher in self.teachers]
        write_json(path, {"format": FORMAT, "data": self.fingerprint, "teachers": teachers}, indent=None)

    @classmethod
    def read(cls, location: BankLocation) -> "BankManifest":
        """The manifest at a location; SecateurError where there is none, it is broken, or of other data."""
        folder = location.folder
        found = read_json(location.path, f"is no list of teachers, and there is no memory bank in {folder}", FIRST)
        try:
            if found["format"] != FORMAT:
                raise ValueError(f"{location.manifest} has format {found['format']!r}, not {FORMAT!r}")
            manifest = cls(found["data"], tuple(map(Teacher.from_json, found["teachers"])))
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise SecateurError(f"no memory bank in {folder} ({in_a_line(error)}); {FIRST}") from error
        if manifest.fingerprint != location.fingerprint:
            data = f"{manifest.fingerprint}, not {location.fingerprint}"
            raise SecateurError(f"the bank in {folder} is of other data ({data}); pass a different --out")
        return manifest


def manifest_name(student: Subnetwork, winner: Subnetwork) -> str:
    """The name of the file that lists a student's teachers."""
    return MANIFEST if student == winner else f"bank-{student.digest}.json"


def mix_name(student: Subnetwork) -> str:
    """The name of the file that lists the teachers that are worth being in a student's mix."""
    return f"mix-{student.digest}.json"
