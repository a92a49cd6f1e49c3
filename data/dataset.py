"""A data set split three ways: for training, for scoring during the search, and for one test at the end."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..errors import SecateurError
from ..models.evaluate import device_of
from ..models.inputs import Inputs, tensors
from ..models.tasks.classification import Classification
from ..models.tasks.task import Task
from ..models.tracing.modules import evaluating
from ..models.zoo.normalisation import MEAN, STD, Channels
from ..seeds import random_streams
from .augment import Augment, Shape, augmentation, name_of
from .decoding import ReadProgress, common_shape, is_picture, open_readers
from .holdout import SHARE
from .images import Images
from .parts import Part, dataset_of, three_parts
from .reading import SampleReader
from .samples import Samples
from .sources import classes_of, datasets, labels_of
from .streaming import WORKERS


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """A data set: images to train on, a holdout that the search scores on, and test images that are read once.

    Its task says what outputs are judged by; ``classes`` are names, none where the task has no classes. ``note``: which
    files are used for what, where that was chosen here.

    >>> data = open_data("digits")
    >>> data
    Data('digits', train=1078, holdout=360, test=359, classes=10, shape=(3, 32, 32))
    >>> data.example.shape
    torch.Size([1, 3, 32, 32])
    """

    name: str
    train: Images | Samples
    holdout: Images | Samples
    test: Images | Samples
    classes: tuple[str, ...]
    note: str = ""

    def __post_init__(self) -> None:
        known = range(len(self.classes))
        for part, images in self._parts.items():
            labels = [] if images.labels is None else images.labels.tolist()
            unknown = sorted({*labels}.difference(known))
            if not len(images):
                raise SecateurError(f"the {part} split of {self.name} is empty; pass at least one image")
            if unknown:
                raise SecateurError(f"{part} has label {unknown[0]}, not in {known}; number classes from 0")

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={len(images)}" for name, images in self._parts.items())
        about = f"classes={len(self.classes)}" if self.classes else f"task={type(self.task).__name__}"
        return f"Data({self.name!r}, {counts}, {about}, shape={self.shape})"

    @classmethod
    def of(
        cls,
        train: Part,
        holdout: Part | float = SHARE,
        test: Part | None = None,
        *,
        task: Task | None = None,
        name: str = "data",
        shape: Shape | None = None,
        mean: Channels = MEAN,
        std: Channels = STD,
        flip: bool = True,
        augment: str | Augment | None = None,
        workers: int | None = None,
        memory_bytes: int = 2_000_000_000,
        progress: ReadProgress | None = None,
    ) -> "Data":
        """Three map-style data sets of (input, target), or loaders of them, as one; or two, train and test.

        Images of classes, PIL or uint8 (3, H, W), without random transforms, are resized, normalised and augmented
        here. All else is read as the data set has it: float tensors or NumPy arrays of any shape, tuples or
        dictionaries of them for networks of several inputs; its transforms are the augmentation. A loader's collate_fn
        and batch size are those of reading. What items hold beyond (input, target) is left out.

        Args:
            train: samples to train on.
            holdout: samples that the search scores on; or a share of ``train``, with its transforms: by default the
                last tenth of each class.
            test: samples that are read once, at the end.
            task: what outputs are judged by; by default ``sc.Classification()``, targets are class numbers.
            name: of the data set.
            shape: (3, height, width) that images are resized and cropped to; by default their own, if they agree.
            mean: of the channels, in 0..1.
            std: of the channels.
            flip: whether a mirrored image keeps its class.
            augment: what training shows of an image: ``"crop-flip"``, ``"imagenet"``, ``"trivial"``, ``"none"``, or a
                transform of torchvision.transforms.v2 from uint8 (3, H, W) to the same size, as uint8 or float in 0..1,
                not normalised. By default ``"crop-flip"``, from 96 pixels on ``"imagenet"``.
            workers: at most so many processes that read; by default 4, or a loader's own number.
            memory_bytes: held in memory is what takes at most this, images as uint8; the rest is streamed.
            progress: called with (images read, images in all).

        >>> import secateur as sc
        >>> from torch.utils.data import TensorDataset
        >>> depth = TensorDataset(torch.rand(8, 1, 16, 16), torch.rand(8, 16, 16))
        >>> sc.Data.of(depth, depth, depth, task=sc.Regression())
        Data('data', train=8, holdout=8, test=8, task=Regression, shape=(1, 16, 16))
        """
        task = _checked_task(Classification() if task is None else task)
        parts: Any = three_parts(train, holdout, test, task=task, name=name)
        if not _holds_pictures(parts[0]):
            splits = _samples(parts, task, memory_bytes, workers)
            _require_own_form(splits[0], shape, mean, std, augment)
            return cls(name, *splits, _classes(parts, splits[0]))
        _require_images_of_classes(task)
        labels = [labels_of(part) for part in parts]
        names = classes_of(parts) or _numbered(labels[0])
        shape = shape or common_shape(parts[0])
        if len(shape) != 3 or shape[0] != 3 or min(shape) < 1:
            raise SecateurError(f"images of shape {shape}; pass (3, height, width); grey images become colour")
        how: dict[str, Any] = {"flip": flip, "augment": augmentation(augment, shape, flip)}
        reading: dict[str, Any] = {"memory_bytes": memory_bytes, "progress": progress, "augment": how["augment"]}
        count = WORKERS if workers is None else workers
        read = open_readers(parts, labels, shape, workers=count, **reading)
        one, two, three = (Images(*x, shape, mean, std, **how) for x in zip(read, labels, strict=True))
        return cls(name, one, two, three, names)

    def in_memory_format_of(self, model: nn.Module) -> "Data":
        """The same images, laid out in memory as ``model`` takes them fastest: channels last, where it runs on that.

        Convolutions on CPUs and on tensor cores like it better; a forward that calls ``view`` may refuse it.
        """
        parts = [each for each in self._parts.values() if isinstance(each, Images)]
        if not parts:
            return self
        two = torch.zeros(2, *self.shape, device=device_of(model)).contiguous(memory_format=torch.channels_last)
        try:
            with evaluating(model), torch.no_grad():
                model(two)
        except RuntimeError:
            return self
        train, holdout, test = (replace(each, layout=torch.channels_last) for each in parts)
        suited = replace(self, train=train, holdout=holdout, test=test)
        vars(suited).update({"fingerprint": self.fingerprint} if "fingerprint" in vars(self) else {})  # read once
        return suited

    @property
    def task(self) -> Task:
        """What outputs are judged by."""
        return self.train.task

    @property
    def shape(self) -> tuple[int, ...]:
        """(3, height, width) of every image, in pixels; or the shape of a sample's first input."""
        return self.train.shape

    @property
    def example(self) -> Inputs:
        """Zeros as the network takes them, to trace it with; (1, 3, H, W) float32, or one sample of what it takes."""
        return self.train.example

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with classes, labels, order, size, augmentation, or pixels of 64 images a split."""
        digest = hashlib.sha256(json.dumps([self.classes, self.shape]).encode())
        for images in self._parts.values():
            if images.labels is not None:
                digest.update(images.labels.numpy().tobytes())
            spread = torch.linspace(0, len(images) - 1, min(64, len(images))).round().long()
            for x in tensors(images.at(spread)):
                digest.update(x.numpy().tobytes())
        if isinstance(self.train, Images) and self.train.augment:
            digest.update(name_of(self.train.augment).encode())
        return digest.hexdigest()[:16]

    @property
    def _parts(self) -> dict[str, Images | Samples]:
        return {"train": self.train, "holdout": self.holdout, "test": self.test}


def open_data(
    spec: str,
    shape: Shape | None = None,
    mean: Channels = MEAN,
    std: Channels = STD,
    *,
    task: Task | None = None,
    holdout: str | None = None,
    augment: str | Augment | None = None,
    workers: int | None = None,
    memory_bytes: int = 2_000_000_000,
    progress: ReadProgress | None = None,
) -> Data:
    """The data set that a text names.

    Args:
        spec: ``digits``, ``cifar10:ROOT``, ``cifar100:ROOT``, ``imagefolder:ROOT``, ``path/to/file.py:function`` or
            ``package.module:function``; a function returns (train, holdout, test), or (train, test). Below the root of
            an imagefolder lie train/CLASS/ and test/CLASS/, and val/CLASS/ where the holdout is not a part of train.
        shape: (3, height, width) that images are resized and cropped to; by default their own.
        mean: of the channels, in 0..1; by default ImageNet's.
        std: of the channels; by default ImageNet's.
        task: what outputs are judged by; by default ``sc.Classification()``.
        holdout: another holdout: a share of the training images, ``"10%"``, or a folder of an imagefolder.
        augment: what training shows of an image, as for ``Data.of``.
        workers: at most so many processes that read; by default 4.
        memory_bytes: images are held in memory if they take at most this as uint8, else streamed.
        progress: called with (images read, images in all).

    Raises SecateurError for a text that names none, or data that cannot be read.

    >>> open_data("digits", (3, 16, 16)).shape
    (3, 16, 16)
    """
    source = datasets(spec, holdout)
    data = Data.of(
        *source.parts,
        task=task,
        name=spec,
        shape=shape or source.shape,
        mean=mean,
        std=std,
        flip=source.flip,
        augment=augment,
        workers=workers,
        memory_bytes=memory_bytes,
        progress=progress,
    )
    return replace(data, note=source.note)


def _require_images_of_classes(task: Task) -> None:
    if not isinstance(task, Classification):
        fix = "let the data set's transforms make float tensors of images, with their targets"
        raise SecateurError(f"images are not decoded for the task {type(task).__name__}; {fix}")


def _samples(
    parts: Sequence[Part], task: Task, memory_bytes: int, workers: int | None
) -> tuple[Samples, Samples, Samples]:
    """A split of each part, read as it is; each may hold a third of the memory."""
    found = []
    for part in parts:
        read = SampleReader.of(part) if isinstance(part, DataLoader) else SampleReader(part)
        read = read if workers is None else replace(read, workers=workers)
        most = part.batch_size if isinstance(part, DataLoader) else None
        with random_streams(0):
            labels = labels_of(read.dataset) if isinstance(task, Classification) else None
        found.append(Samples(read, task, labels, most, memory_bytes // len(parts)))
    train, holdout, test = found
    return train, holdout, test


def _classes(parts: Sequence[Part], samples: Samples) -> tuple[str, ...]:
    """The names of the classes, or their numbers; none where the task has no classes."""
    if samples.labels is None:
        return tuple(map(str, range(samples.task.classes or 0)))
    return classes_of([dataset_of(part) for part in parts]) or _numbered(samples.labels)


def _numbered(labels: Tensor) -> tuple[str, ...]:
    """The numbers from 0 to the highest label. Shape: labels (N,)"""
    return tuple(map(str, range(1 + max(labels.tolist(), default=-1))))


def _holds_pictures(part: Part) -> bool:
    """Whether its first item is decoded here; one that has none, or cannot be read, is said to be wrong there."""
    if isinstance(part, DataLoader):
        return False
    try:
        with random_streams(0):
            item: Any = part[0]
        return not isinstance(item, (tuple, list)) or is_picture(item[0])
    except SecateurError:
        raise
    except Exception:
        return True


def _require_own_form(
    samples: Samples, shape: Shape | None, mean: Channels, std: Channels, augment: str | Augment | None
) -> None:
    """Raise SecateurError where samples that are read as they are were to be resized, normalised or augmented."""
    if augment is not None:
        fact = f"augment={augment!r} is for images that are decoded here"
        raise SecateurError(f"{fact}; leave it out: the data set's own transforms are the augmentation")
    if shape not in (None, samples.shape) or mean != MEAN or std != STD:
        fix = "leave them out: the data set's transforms size and normalise"
        raise SecateurError(f"shape={shape}, mean={mean}, std={std} are for images that are decoded here; {fix}")


def _checked_task(task: object) -> Task:
    if not isinstance(task, Task):
        raise SecateurError(
            f"task={task!r} is no task; pass sc.Classification(), sc.Segmentation(classes) or sc.Task(...)"
        )
    return task
