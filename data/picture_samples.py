"""Pictures that are decoded, sized and normalised as they are read, their maps with them, whatever the task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision import tv_tensors
from torchvision.datasets import VisionDataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tf

from ..errors import SecateurError, in_a_line
from ..models.tasks.classification import Classification
from ..models.tasks.task import Task
from ..seeds import random_streams
from .augment import CROP_FLIP, PAD
from .decoding import pixels_of
from .form import ReadForm, fitted
from .generators import generators_in, seed_generators
from .reading import SampleReader
from .samples import Samples
from .sources import labels_of

ITEMS, SEEDS = 4, 4  # pictures that are drawn to see whether transforms are random, and how often each

JointAugment = Callable[..., Any]  # of a picture, or of a picture and its map → the same, of the same size


@dataclass(frozen=True, eq=False)
class PictureSamples(Dataset[Any]):
    """Items of ``dataset``, (picture, target), as the network takes them: (float (3, height, width), target).

    A target that is a picture, or numbers for each pixel, is a map: it is scaled to the nearest pixel, cropped and
    augmented along with its picture. Of a map in a palette the numbers count, not the colours. All other targets stay
    as they are.

    Args:
        dataset: Its pictures are PIL images, uint8 (3, H, W), or arrays (H, W, 3).
        form: Size, crop and normalisation.
        augment: A transform of torchvision.transforms.v2, or a function of (picture, map), or of a picture whose
            target is no map.
    """

    dataset: Any
    form: ReadForm
    augment: JointAugment | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> tuple[Tensor, Any]:
        picture, target, *_ = self.dataset[position]
        pixels, mapped = tv_tensors.Image(pixels_of(picture)), map_of(target, picture)
        shown = [pixels] if mapped is None else [pixels, mapped]
        shown = [_fitted(each, self.form) for each in shown]
        if self.augment is not None:
            shown = self._augmented(shown)
        image = tf.to_dtype(shown[0].as_subclass(Tensor), torch.float32, scale=True)
        normalised = tf.normalize(image, *map(list, self.form.normalisation))
        return normalised, target if mapped is None else shown[1].as_subclass(Tensor)

    def _augmented(self, whole: list[Any]) -> list[Any]:
        assert self.augment is not None
        try:
            found = self.augment(*whole)
        except Exception as error:
            raise SecateurError(
                f"the augmentation failed on a picture{' and its map' * (len(whole) > 1)} ({in_a_line(error)}); "
                "pass a transform of torchvision.transforms.v2 that takes both"
            ) from error
        shown = list(found) if len(whole) > 1 else [found]
        if [each.shape[-2:] for each in shown] != [each.shape[-2:] for each in whole]:
            size = "x".join(map(str, self.form.size[1:]))
            raise SecateurError(f"the augmentation makes another size than {size}; let it end in that size")
        return shown


def picture_splits(parts: Sequence[Any], task: Task, form: ReadForm) -> tuple[Samples, Samples, Samples]:
    """A split of each part, its pictures in this form; each may hold a third of the memory."""
    augment = joint_augmentation(form, outside=0 if task.ignore is None else task.ignore)

    def reader(part: Any, augment: JointAugment | None) -> SampleReader:
        return SampleReader(PictureSamples(part, form, augment), workers=form.processes)

    how: dict[str, Any] = {"memory_bytes": form.memory_bytes // len(parts), "normalisation": form.normalisation}

    def split(part: Any) -> Samples:
        labels = labels_of(part) if isinstance(task, Classification) else None
        return Samples(reader(part, None), task, labels, views=reader(part, augment) if augment else None, **how)

    train, holdout, test = map(split, parts)
    return train, holdout, test


def is_random(dataset: Any) -> bool:
    """Whether its pictures differ from one reading to the next, by transforms of its own."""
    inner = dataset.dataset if isinstance(dataset, Subset) else dataset
    if isinstance(inner, TensorDataset) or (isinstance(inner, VisionDataset) and inner.transforms is None):
        return False
    own, places = generators_in(dataset), range(min(ITEMS, len(dataset)))
    try:
        return any(len({_drawn(dataset, place, own, seed) for seed in range(SEEDS)}) > 1 for place in places)
    except Exception:  # it is said where images are read
        return False


def _drawn(dataset: Any, position: int, generators: list[Any], seed: int) -> bytes:
    """The pixels of one picture, drawn with this seed."""
    with random_streams(seed):
        seed_generators(generators, seed)
        pixels = pixels_of(dataset[position][0])
    return bytes(str(tuple(pixels.shape)), "ascii") + pixels.numpy().tobytes()


def map_of(target: Any, picture: Any) -> Any:
    """The target as a map of a picture's pixels, (H, W) or (C, H, W), its numbers as they are; None where it is none.

    >>> picture = Image.new("RGB", (6, 4))
    >>> map_of(Image.new("L", (6, 4), 3), picture).unique().tolist()
    [3]
    >>> map_of(torch.zeros(4, 6, dtype=torch.int64), picture).shape
    torch.Size([4, 6])
    >>> map_of(torch.zeros(10), picture) is None
    True
    """
    if isinstance(target, Image.Image):
        if target.mode not in ("1", "L", "P", "I", "I;16", "F"):
            raise SecateurError(f"a map is a picture of mode {target.mode}; store one number a pixel, modes L, P or I")
        target = np.array(target)
    if isinstance(target, np.ndarray) and target.ndim in (2, 3):
        numbers = target.astype(np.int64) if target.dtype.kind in "bui" else target
        target = torch.from_numpy(np.ascontiguousarray(numbers))
    size = pixels_of(picture).shape[1:]
    if not isinstance(target, Tensor) or target.ndim not in (2, 3) or target.shape[-2:] != size:
        return None
    return tv_tensors.Mask(target)


def joint_augmentation(form: ReadForm, outside: int) -> JointAugment | None:
    """The transform of this form for pictures and their maps; none by default.

    ``outside``: the number of a map's pixels outside of the picture.
    """
    if form.augment == CROP_FLIP:
        fill: dict[Any, int] = {tv_tensors.Image: 0, tv_tensors.Mask: outside}
        cropped = v2.RandomCrop(form.size[1:], PAD, fill=fill)
        composed: JointAugment = v2.Compose([cropped, v2.RandomHorizontalFlip(0.5 if form.flip else 0.0)])
        return composed
    return None if form.augment in (None, "none") else form.augmentation


def _fitted(shown: Any, form: ReadForm) -> Any:
    """A picture or a map at the size of the form."""
    kind = type(shown)
    return kind(fitted(shown.as_subclass(Tensor), form.size, form.crop, nearest=kind is tv_tensors.Mask))
