"""Filling the memory bank: every teacher runs once over the training images, and resumes where it was stopped."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ...models.compensation.gram import Gram
from ...models.compensation.ridge import refit
from ...models.evaluate import BATCH, device_of, embed, recalibrate
from ...models.inputs import Inputs, each_tensor, moved
from ...models.outputs import OutputForm
from ...models.split import Split
from ...models.subnetwork import Subnetwork
from ...models.supernet import Supernet
from ...models.surgery.places import kept_places
from ...models.tracing.modules import evaluating
from .bank import TEACHERS, read_teacher, teacher_file
from .manifest import BankLocation, BankManifest, Teacher
from .row_file import RowFile, Rows
from .top_k import top_k_logits


@dataclass(frozen=True)
class BankConfig:
    """How much a bank holds.

    Args:
        views: Fixed augmented views of each image, beside the image without augmentation.
        many: Number of classes beyond which only the most likely ones are stored.
        top_classes: Number of classes that are stored then, for each image.
        bfloat16: Whether teachers run in autocast, as the student will.
        teachers: At most this number of teachers, the best ones.
        class_logits: Whether outputs are logits of classes. Others are stored whole and in float32.

    >>> BankConfig().bytes(images=50_000, classes=10, width=64, teachers=5)
    37000000
    """

    views: int = 0
    many: int = 256
    top_classes: int = 32
    bfloat16: bool = False
    teachers: int = TEACHERS
    class_logits: bool = True

    def bytes(self, images: int, classes: int, width: int, teachers: int) -> int:
        """The size of a bank of embeddings of ``width``. Logits, embeddings and classes have 2 bytes a number.

        Of other outputs ``classes`` are the numbers of one, which have 4 bytes.
        """
        some, words = self.condenses(classes), 1 if self.class_logits else 2
        logits = teachers * (self.top_classes + 1) + self.top_classes if some else teachers * classes * words
        return 2 * images * (logits * (1 + self.views) + width * (1 if some else teachers))

    def condenses(self, classes: int) -> bool:
        """Whether only the most likely of so many classes are stored."""
        return self.class_logits and classes > self.many


def fill_bank(
    net: Supernet,
    teachers: Sequence[Teacher],
    split: Split,
    location: BankLocation,
    *,
    grams: Mapping[str, Gram],
    config: BankConfig = BankConfig(),  # frozen
) -> Iterator[int]:
    """Fill a bank, one file a teacher and view; yields the number of images done, over all teachers and views.

    The first teacher is the dense network, which runs as it is. The others are refit by ``grams``, as they were
    when the search scored them, and recalibrated. A file that is there is not made again, so one folder serves several
    manifests. SecateurError where the bank that is there is of other data.

    Args:
        net: The dense network with its structure.
        teachers: The subnetworks, best first; the first is the dense network.
        split: The training images.
        location: The folder, the data set's fingerprint, and the name of the manifest.
        grams: Second moments of what the dense network's layers read.
        config: How much is stored.
    """
    BankManifest.enter(location, teachers)
    views, done = (None, *range(config.views)), 0
    for teacher in teachers:
        files = {view: location.folder / teacher_file(teacher, view) for view in views}
        missing = {view: path for view, path in files.items() if not path.exists()}
        done += len(split) * (len(files) - len(missing))
        if not missing:
            yield done
            continue
        run = TeacherRun(net, teacher.subnetwork, ready_teacher(net, teacher.subnetwork, grams, split), config)
        for view, path in missing.items():
            first = location.folder / teacher_file(teachers[0], view)
            classes = None if teacher is teachers[0] else read_teacher(first, len(split)).get("classes")
            for count in _fill_file(run, split, path, view=view, classes=classes):
                yield done + count
            done += len(split)


def ready_teacher(net: Supernet, subnetwork: Subnetwork, grams: Mapping[str, Gram], split: Split) -> nn.Module:
    """A teacher as it runs: the dense network as it is, another refit and recalibrated."""
    if subnetwork == net.dense:
        return net.model
    model = refit(net, subnetwork, grams)
    recalibrate(model, split)
    return model


@dataclass(frozen=True, eq=False)
class TeacherRun:
    """A teacher that is ready to run: ``model`` has the channels of ``subnetwork``."""

    net: Supernet
    subnetwork: Subnetwork
    model: nn.Module
    config: BankConfig

    def outputs(self, images: Inputs) -> tuple[Tensor, Tensor]:
        """Its logits and its embeddings at the dense network's width. Shape: → (B, C), (B, D) float32"""
        net, device = self.net, device_of(self.model)
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=self.config.bfloat16)
        with evaluating(self.model), torch.no_grad(), autocast:
            output, features = embed(self.model, net.head, moved(images, device))
            rows = OutputForm.of(output, len(features)).pack(output)
        logits, embeddings = (x.float().cpu() for x in (rows, features))
        kept = kept_places(net, self.subnetwork).get(f"{net.head}.weight", {}).get(1)
        if kept is None:
            return logits, embeddings
        wide = torch.zeros(len(embeddings), net.shapes[f"{net.head}.weight"][1])
        return logits, wide.index_copy(1, torch.from_numpy(kept), embeddings)

    def rows(self, images: Inputs, *, view: int | None, classes: Tensor | None) -> Rows:
        """What is stored of a batch.

        ``classes``: those that the first teacher found most likely, where it is another one and classes are many.
        Shape: classes (B, k) int16
        """
        logits, embeddings = self.outputs(images)
        rows = self.stored(logits, classes)
        if view is None and not (self.config.condenses(logits.shape[1]) and classes is not None):
            rows = {"embeddings": embeddings.half(), **rows}
        return rows

    def stored(self, logits: Tensor, classes: Tensor | None = None) -> Rows:
        """What is stored of logits; ``classes`` as of ``rows``. Shape: logits (B, C) float32"""
        rows, some = Rows(), self.config.condenses(logits.shape[1])
        if some:
            likely = logits.topk(self.config.top_classes).indices if classes is None else classes.long()
            logits = top_k_logits(logits, likely)
            if classes is None:
                rows["classes"] = likely.short()
        # logits last: where they are, there is the rest
        return {**rows, "logits": logits.half() if self.config.class_logits else logits}


def _fill_file(run: TeacherRun, split: Split, path: Path, *, view: int | None, classes: Tensor | None) -> Iterator[int]:
    """Write a teacher's outputs for every image, batch by batch; rows that are written already are not made again."""
    file, done = RowFile(path, len(split)), 0
    for images, _, indices in split.batches(BATCH, view=view):
        fill_rows(file, run, images, indices, view=view, classes=classes)
        done += len(indices)
        yield done
    file.end()


def fill_rows(
    file: RowFile,
    run: TeacherRun,
    images: Inputs,
    indices: Tensor,
    *,
    view: int | None = None,
    classes: Tensor | None = None,
) -> None:
    """Run a teacher on those of these images that have no row in the file yet, and write their rows.

    ``classes``: those of all images, as ``TeacherRun.rows`` takes them. Shape: images (B, ...), indices (B,)
    """
    missing = file.missing(indices)
    if not missing.any():
        return
    if not missing.all():
        images, indices = each_tensor(lambda x: x[missing.to(x.device)], images), indices[missing]
    file.write(indices, run.rows(images, view=view, classes=None if classes is None else classes[indices]))
