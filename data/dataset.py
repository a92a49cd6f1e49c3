"""A data set split three ways: for training, for scoring during the search, and for one test at the end."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from ..errors import SecateurError
from ..models.evaluate import device_of
from ..models.tracing.modules import evaluating
from .decoding import ReadProgress, common_shape, open_readers
from .images import MEAN, STD, Channels, Images, Shape
from .sources import classes_of, datasets, labels_of


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """A data set: images to train on, a holdout that the search scores on, and test images that are read once.

    >>> data = open_data("digits")
    >>> data
    Data('digits', train=1078, holdout=360, test=359, classes=10, shape=(3, 32, 32))
    >>> data.example.shape
    torch.Size([1, 3, 32, 32])
    """

    name: str
    train: Images
    holdout: Images
    test: Images
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        known = range(len(self.classes))
        for part, images in self._parts.items():
            unknown = sorted({*images.labels.tolist()}.difference(known))
            if not len(images):
                raise SecateurError(f"the {part} split of {self.name} is empty; pass at least one image")
            if unknown:
                raise SecateurError(f"{part} has label {unknown[0]}, not in {known}; number classes from 0")

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={len(images)}" for name, images in self._parts.items())
        return f"Data({self.name!r}, {counts}, classes={len(self.classes)}, shape={self.shape})"

    @classmethod
    def of(
        cls,
        train: Dataset[Any],
        holdout: Dataset[Any],
        test: Dataset[Any],
        *,
        name: str = "data",
        shape: Shape | None = None,
        mean: Channels = MEAN,
        std: Channels = STD,
        flip: bool = True,
        memory_bytes: int = 2_000_000_000,
        progress: ReadProgress | None = None,
    ) -> "Data":
        """Three map-style data sets of (image, label), as one.

        Images are PIL or uint8 (3, H, W), without random transforms.

        Args:
            train: images to train on.
            holdout: images that the search scores on.
            test: images that are read once, at the end.
            name: of the data set.
            shape: (3, height, width) that images are resized and cropped to; by default their own, if they agree.
            mean: of the channels, in 0..1.
            std: of the channels.
            flip: whether a mirrored image keeps its class.
            memory_bytes: images are held in memory if the three sets take at most this as uint8, else streamed.
            progress: called with (images read, images in all).
        """
        parts = (train, holdout, test)
        if any(isinstance(part, IterableDataset) for part in parts):
            fix = "pass map-style data sets: a memory bank and a resumed training know images by their position"
            raise SecateurError(f"{name} is a stream; {fix}")
        labels = [labels_of(part) for part in parts]
        names = classes_of(parts) or tuple(map(str, range(1 + max(labels[0].tolist(), default=-1))))
        shape = shape or common_shape(train)
        if len(shape) != 3 or shape[0] != 3 or min(shape) < 1:
            raise SecateurError(f"images of shape {shape}; pass (3, height, width); grey images become colour")
        read = open_readers(parts, labels, shape, memory_bytes=memory_bytes, progress=progress)
        one, two, three = (Images(*x, shape, mean, std, flip) for x in zip(read, labels, strict=True))
        return cls(name, one, two, three, names)

    def in_memory_format_of(self, model: nn.Module) -> "Data":
        """The same images, laid out in memory as ``model`` takes them fastest: channels last, where it runs on that.

        Convolutions on CPUs and on tensor cores like it better; a forward that calls ``view`` may refuse it.
        """
        two = torch.zeros(2, *self.shape, device=device_of(model)).contiguous(memory_format=torch.channels_last)
        try:
            with evaluating(model), torch.no_grad():
                model(two)
        except RuntimeError:
            return self
        train, holdout, test = (replace(each, layout=torch.channels_last) for each in self._parts.values())
        suited = replace(self, train=train, holdout=holdout, test=test)
        vars(suited).update({"fingerprint": self.fingerprint} if "fingerprint" in vars(self) else {})  # read once
        return suited

    @property
    def shape(self) -> Shape:
        """(3, height, width) of every image, in pixels."""
        return self.train.shape

    @property
    def example(self) -> Tensor:
        """Zeros as the network takes them, to trace it with; (1, 3, H, W) float32."""
        return torch.zeros(1, *self.shape)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with classes, labels, order, size or pixels (of 64 images a split)."""
        digest = hashlib.sha256(json.dumps([self.classes, self.shape]).encode())
        for images in self._parts.values():
            digest.update(images.labels.numpy().tobytes())
            spread = torch.linspace(0, len(images) - 1, min(64, len(images))).round().long()
            digest.update(next(images.read([spread])).numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def _parts(self) -> dict[str, Images]:
        return {"train": self.train, "holdout": self.holdout, "test": self.test}


def open_data(
    spec: str,
    shape: Shape | None = None,
    mean: Channels = MEAN,
    std: Channels = STD,
    *,
    memory_bytes: int = 2_000_000_000,
    progress: ReadProgress | None = None,
) -> Data:
    """The data set that a text names.

    Args:
        spec: ``digits``, ``cifar10:ROOT``, ``cifar100:ROOT``, ``imagefolder:ROOT``, ``path/to/file.py:function`` or
            ``package.module:function``; a function returns (train, holdout, test).
        shape: (3, height, width) that images are resized and cropped to; by default their own.
        mean: of the channels, in 0..1; by default ImageNet's.
        std: of the channels; by default ImageNet's.
        memory_bytes: images are held in memory if they take at most this as uint8, else streamed.
        progress: called with (images read, images in all).

    Raises SecateurError for a text that names none, or data that cannot be read.

    >>> open_data("digits", (3, 16, 16)).shape
    (3, 16, 16)
    """
    source = datasets(spec)
    return Data.of(
        *source.parts,
        name=spec,
        shape=shape or source.shape,
        mean=mean,
        std=std,
        flip=source.flip,
        memory_bytes=memory_bytes,
        progress=progress,
    )
