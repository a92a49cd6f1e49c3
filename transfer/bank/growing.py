"""A bank that fills itself: what the dense network outputs for a fixed view is stored when training first shows it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...files import ensure_folder
from ...models.evaluate import BATCH
from ...models.inputs import Inputs
from ...models.split import Split
from ...models.supernet import Supernet
from .bank import MemoryBank, teacher_file
from .fill import BankConfig, TeacherRun, fill_rows
from .manifest import BankLocation, BankManifest, Teacher
from .row_file import RowFile


@dataclass(frozen=True, eq=False)
class GrowingFiles:
    """The files of a bank's fixed views, and the dense network, which outputs what they lack.

    Processes that share the folder share the rows: each adds those of the images that it shows.
    """

    run: TeacherRun
    files: Sequence[RowFile]

    def fill(self, view: int, images: Inputs, indices: Tensor) -> None:
        """Store what is missing for these images in this view. Shape: images (B, ...), indices (B,)"""
        fill_rows(self.files[view], self.run, images, indices, view=view)

    def store(self, view: int, logits: Tensor, indices: Tensor) -> None:
        """Store what the dense network has output for these images, where it is missing. Shape: logits (B, C)"""
        missing = self.files[view].missing(indices)
        if missing.any():
            self.files[view].write(indices[missing], self.run.stored(logits.float().cpu()[missing]))

    def fill_all(self, split: Split) -> Iterator[int]:
        """Store all that is missing; yields the number of images done, over all views."""
        done = 0
        for view, file in enumerate(self.files):
            for images, _, indices in split.batches(BATCH, view=view):
                self.fill(view, images, indices)
                done += len(indices)
                yield done
            file.end()


def growing_bank(net: Supernet, dense: Teacher, split: Split, location: BankLocation, config: BankConfig) -> MemoryBank:
    """The bank of ``config.views`` fixed views in a folder as far as it is filled, with ``source`` for the rest.

    It holds logits alone, of the dense network alone. The empty files are made here. SecateurError where the bank that
    is there is of other data, or broken.
    """
    ensure_folder(location.folder)
    if location.path.exists():
        BankManifest.read(location)  # what is there must be of the same data
    else:
        BankManifest(location.fingerprint, (dense,)).write(location.path)
    files = [RowFile(location.folder / teacher_file(dense, view), len(split)) for view in range(config.views)]
    run = TeacherRun(net, dense.subnetwork, net.model, config)
    if not all(file.rows for file in files):
        rows = run.rows(next(split.batches(2, 2)).images, view=0, classes=None)  # for their sizes
        for file in files:
            file.begin(rows)
    for file in files:
        file.end()
    views = ((file.rows["logits"], file.rows.get("classes")) for file in files)
    fixed = tuple(MemoryBank(location.folder, (dense,), (logits,), (), classes) for logits, classes in views)
    return MemoryBank(location.folder, (dense,), (), (), fixed=fixed, source=GrowingFiles(run, files))
