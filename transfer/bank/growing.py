"""A bank that fills itself: what teachers output for a fixed view is stored when training first shows it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ...models.compensation.gram import Gram
from ...models.evaluate import BATCH
from ...models.inputs import Inputs
from ...models.split import Split
from ...models.subnetwork import Subnetwork
from ...models.supernet import Supernet
from .bank import MemoryBank, teacher_file
from .fill import BankConfig, TeacherRun, fill_rows, ready_teacher
from .manifest import BankLocation, BankManifest, Teacher
from .row_file import RowFile


@dataclass(frozen=True, eq=False)
class TeacherSetting:
    """What makes a teacher ready to run: the dense network, what refits and recalibrates others, and what is stored."""

    net: Supernet
    split: Split
    grams: Mapping[str, Gram]
    config: BankConfig


@dataclass(frozen=True, eq=False)
class GrowingTeacher:
    """A teacher and its ``files``, one a view; it is made ready when it first runs."""

    subnetwork: Subnetwork
    setting: TeacherSetting
    files: Sequence[RowFile]

    @cached_property
    def run(self) -> TeacherRun:
        """The teacher, ready to run."""
        net, config = self.setting.net, self.setting.config
        model = ready_teacher(net, self.subnetwork, self.setting.grams, self.setting.split)
        return TeacherRun(net, self.subnetwork, model, config)

    def fill(self, view: int, images: Inputs, indices: Tensor, classes: Tensor | None = None) -> None:
        """Store what is missing for these images; ``classes`` as of ``fill_rows``."""
        if self.files[view].missing(indices).any():
            fill_rows(self.files[view], self.run, images, indices, view=view, classes=classes)


@dataclass(frozen=True, eq=False)
class GrowingFiles:
    """The teachers of a bank that fills itself, the dense network first.

    Processes that share the folder share the rows: each adds those of the images that it shows.
    """

    teachers: Sequence[GrowingTeacher]

    def fill(self, view: int, images: Inputs, indices: Tensor) -> None:
        """Store what is missing for these images in this view. Shape: images (B, ...), indices (B,)"""
        dense, *others = self.teachers
        dense.fill(view, images, indices)
        for teacher in others:
            teacher.fill(view, images, indices, dense.files[view].rows.get("classes"))

    def store(self, view: int, logits: Tensor, indices: Tensor) -> None:
        """Store what the dense network has output for these images, where it is missing. Shape: logits (B, C)"""
        dense = self.teachers[0]
        missing = dense.files[view].missing(indices)
        if missing.any():
            dense.files[view].write(indices[missing], dense.run.stored(logits.float().cpu()[missing]))

    def fill_all(self, split: Split) -> Iterator[int]:
        """Store all that is missing; yields the number of images done, over all views."""
        done = 0
        for view in range(len(self.teachers[0].files)):
            for images, _, indices in split.batches(BATCH, view=view):
                self.fill(view, images, indices)
                done += len(indices)
                yield done
            self.end()

    def end(self) -> None:
        """Put the files that are complete in their places."""
        for teacher in self.teachers:
            for file in teacher.files:
                file.end()


def growing_bank(teachers: Sequence[Teacher], location: BankLocation, setting: TeacherSetting) -> MemoryBank:
    """The bank of fixed views in a folder as far as it is filled, with ``source`` for the rest.

    It holds logits alone. The empty files and the list of teachers are made here. SecateurError where the bank that is
    there is of other data, or broken.

    Args:
        teachers: Those whose mean is learned from, the dense network first.
        location: The folder, the data set's fingerprint, and the name of the list.
        setting: What makes them ready, with the number of views.
    """
    BankManifest.enter(location, teachers)
    images, views = len(setting.split), range(setting.config.views)
    paths = {each.subnetwork: [location.folder / teacher_file(each, view) for view in views] for each in teachers}
    growing = [GrowingTeacher(s, setting, [RowFile(path, images) for path in found]) for s, found in paths.items()]
    _begin(growing, setting.split)
    source = GrowingFiles(growing)
    source.end()
    fixed = tuple(_of_view(location, tuple(teachers), growing, view) for view in views)
    return MemoryBank(location.folder, tuple(teachers), (), (), fixed=fixed, source=source)


def _begin(teachers: Sequence[GrowingTeacher], split: Split) -> None:
    """Make the files that are not there, empty; the dense network runs on two images for the sizes of rows."""
    if all(file.rows for teacher in teachers for file in teacher.files):
        return
    rows = teachers[0].run.rows(next(split.batches(2, 2)).images, view=0, classes=None)
    for teacher in teachers:
        for file in teacher.files:
            file.begin(rows if teacher is teachers[0] else {"logits": rows["logits"]})


def _of_view(
    location: BankLocation, teachers: tuple[Teacher, ...], growing: Sequence[GrowingTeacher], view: int
) -> MemoryBank:
    """The bank of one view."""
    rows = [teacher.files[view].rows for teacher in growing]
    return MemoryBank(location.folder, teachers, tuple(each["logits"] for each in rows), (), rows[0].get("classes"))
