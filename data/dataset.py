"""A data set split three ways: for training, for scoring during the search, and for one test at the end."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from ..errors import SecateurError
from ..models.evaluate import device_of
from ..models.inputs import Inputs, tensors
from ..models.tasks.classification import Classification
from ..models.tasks.task import Task
from ..models.tracing.modules import evaluating
from ..models.zoo.normalisation import Channels
from ..seeds import random_streams
from ..signatures import checked
from .augment import name_of
from .decoding import common_shape, is_picture, open_readers
from .form import MEMORY, ReadForm, ReadProgress, shape_of
from .holdout import SHARE
from .images import Images
from .parts import Part, dataset_of, three_parts
from .picture_samples import is_random, picture_splits
from .reading import SampleReader
from .samples import Samples
from .sources import classes_of, datasets, labels_of


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
    @checked
    def of(
        cls,
        train: Part,
        holdout: Part | float = SHARE,
        test: Part | None = None,
        *,
        task: Task | None = None,
        name: str = "data",
        shape: tuple[int, ...] | None = None,
        mean: Channels | None = None,
        std: Channels | None = None,
        flip: bool = True,
        augment: str | Callable[..., Any] | None = None,
        workers: int | None = None,
        memory_bytes: int = MEMORY,
        progress: ReadProgress | None = None,
    ) -> "Data":
        """Three map-style data sets of (input, target), or loaders of them, as one; or two, train and test.

        Images, PIL or uint8 (3, H, W), are resized, normalised and augmented here, and maps, as of segmentation, with
        them. Everything else is read as the data set returns it: float tensors or NumPy arrays of any shape, tuples or
        dictionaries of them for networks of several inputs; its transforms are the augmentation. A loader's collate_fn
        and batch size are used for reading. Anything in an item beyond (input, target) is ignored.

        Args:
            train: samples to train on.
            holdout: samples that the search scores on; or a share of ``train``, with its transforms: by default the
                last tenth of each class.
            test: samples that are read once, at the end.
            task: what outputs are judged by; by default ``sc.Classification()``, targets are class numbers.
            name: of the data set.
            shape: (3, height, width) that images are resized and cropped to; by default their own, if they agree.
            mean: of the channels, in 0..1; by default ImageNet's.
            std: of the channels; by default ImageNet's.
            flip: whether a mirrored image keeps its class.
            augment: what training shows of an image: ``"crop-flip"``, ``"imagenet"``, ``"trivial"``, ``"none"``, or a
                transform of torchvision.transforms.v2 from uint8 (3, H, W) to the same size, as uint8 or float in 0..1,
                not normalised; where targets are maps it gets both. By default ``"crop-flip"``, from 96 pixels on
                ``"imagenet"``; for other tasks than classification ``"none"``.
            workers: at most so many processes that read; by default 4, or a loader's own number.
            memory_bytes: held in memory is what takes at most this, images as uint8; the rest is streamed.
            progress: called with (images read, images in all).

        >>> import secateur as sc
        >>> from torch.utils.data import TensorDataset
        >>> depth = TensorDataset(torch.rand(8, 1, 16, 16), torch.rand(8, 16, 16))
        >>> sc.Data.of(depth, depth, depth, task=sc.Regression())
        Data('data', train=8, holdout=8, test=8, task=Regression, shape=(1, 16, 16))
        """
        task = Classification() if task is None else task
        how: dict[str, Any] = {"flip": flip, "augment": augment, "workers": workers, "memory_bytes": memory_bytes}
        form = ReadForm(shape_of(shape), mean, std, progress=progress, **how)
        return Unread.of(three_parts(train, holdout, test, task=task, name=name), task, name, form).read()

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
    def content(self) -> str:
        """Those digits of each split that change with any pixel of images in memory, and with 64 samples else."""
        return " ".join(part.content for part in self._parts.values())

    @property
    def _parts(self) -> dict[str, Images | Samples]:
        return {"train": self.train, "holdout": self.holdout, "test": self.test}


@checked
def open_data(
    spec: str,
    shape: tuple[int, ...] | None = None,
    mean: Channels | None = None,
    std: Channels | None = None,
    *,
    task: Task | None = None,
    holdout: str | None = None,
    augment: str | Callable[..., Any] | None = None,
    workers: int | None = None,
    memory_bytes: int = MEMORY,
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
    how: dict[str, Any] = {"augment": augment, "workers": workers, "memory_bytes": memory_bytes}
    form = ReadForm(shape_of(shape), mean, std, progress=progress, **how)
    return unread_data(spec, form, task=task, holdout=holdout).read()


def unread_data(spec: str, form: ReadForm, *, task: Task | None = None, holdout: str | None = None) -> "Unread":
    """The same as ``open_data``, before any image is read."""
    source, task = datasets(spec, holdout), Classification() if task is None else task
    parts = three_parts(*source.parts, task=task, name=spec)
    form = replace(form, shape=form.shape or source.shape, flip=source.flip)
    return Unread.of(parts, task, spec, form, source.note)


@dataclass(frozen=True, eq=False)
class Unread:
    """A data set whose classes and sizes are known, before its images are read.

    ``example``: zeros as the network takes them.
    """

    example: Inputs
    classes: tuple[str, ...]
    read: Callable[[], Data]

    @classmethod
    def of(cls, parts: Sequence[Any], task: Task, name: str, form: ReadForm, note: str = "") -> "Unread":
        """Of train, holdout and test."""
        pictures, classes = _holds_pictures(parts[0]), isinstance(task, Classification)
        if pictures and classes and not is_random(parts[0]):
            return cls._of_images(parts, name, form, note)
        if pictures:
            splits = picture_splits(parts, task, form.sized(partial(common_shape, parts[0], square=False)))
        else:
            splits = _samples(parts, task, form)
            _require_own_form(splits[0], form)
        data = Data(name, *splits, _classes(parts, splits[0]), note)
        return cls(data.example, data.classes, lambda: data)

    @classmethod
    def _of_images(cls, parts: Sequence[Any], name: str, form: ReadForm, note: str) -> "Unread":
        """Of images of classes."""
        labels = [labels_of(part) for part in parts]
        names, form = classes_of(parts) or _numbered(labels[0]), form.sized(partial(common_shape, parts[0]))
        how: dict[str, Any] = {"flip": form.flip, "augment": form.augmentation}

        def read() -> Data:
            pairs = zip(open_readers(parts, labels, form), labels, strict=True)
            train, holdout, test = (Images(*each, form.size, *form.normalisation, **how) for each in pairs)
            return Data(name, train, holdout, test, names, note)

        return cls(torch.zeros(1, *form.size), names, read)


def _samples(parts: Sequence[Part], task: Task, form: ReadForm) -> tuple[Samples, Samples, Samples]:
    """A split of each part, read as it is; each may hold a third of the memory."""
    found = []
    for part in parts:
        read = SampleReader.of(part) if isinstance(part, DataLoader) else SampleReader(part)
        read = read if form.workers is None else replace(read, workers=form.workers)
        most = part.batch_size if isinstance(part, DataLoader) else None
        with random_streams(0):
            labels = _labels(read) if isinstance(task, Classification) else None
        found.append(Samples(read, task, labels, most, form.memory_bytes // len(parts)))
    train, holdout, test = found
    return train, holdout, test


def _labels(read: SampleReader) -> Tensor:
    """The class of every sample, as a loader's own collate function makes it where the data set keeps no targets."""
    if read.collate in (None, default_collate) or hasattr(read.dataset, "targets"):
        return labels_of(read.dataset)
    return labels_of(_Collated(read))


@dataclass(frozen=True, eq=False)
class _Collated:
    """Items without their inputs, each as a batch of one has it."""

    read: SampleReader

    def __len__(self) -> int:
        return len(self.read.dataset)

    def __getitem__(self, position: int) -> tuple[None, Any]:
        return None, self.read.one(position).targets[0]


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


def _require_own_form(samples: Samples, form: ReadForm) -> None:
    """Raise SecateurError where samples that are read as they are were to be resized, normalised or augmented."""
    if form.augment is not None:
        fact = f"augment={form.augment!r} is for images that are decoded here"
        raise SecateurError(f"{fact}; leave it out: the data set's own transforms are the augmentation")
    if form.shape not in (None, samples.shape) or form.mean or form.std:
        fact = f"shape={form.shape}, mean={form.mean}, std={form.std} are for images that are decoded here"
        raise SecateurError(f"{fact}; leave them out: the data set's transforms size and normalise")
