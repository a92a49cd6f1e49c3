"""Decoded images of any data set: held in memory when they fit, streamed when not, the same figures either way."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as tf

from ..errors import SecateurError
from .augment import Shape
from .form import ReadForm, fitted
from .images import Reader
from .order import split_into
from .pictures import in_colour
from .streaming import ImageStream


def common_shape(dataset: Any, *, square: bool = True) -> Shape:
    """The size of the images where eight of them agree on one, a ``square`` one, else 3x224x224."""
    some = {round(i) for i in np.linspace(0, len(dataset) - 1, 8)} if len(dataset) else set()
    sizes = {tuple(pixels_of(dataset[i][0]).shape) for i in some}
    _, height, width = sizes.pop() if len(sizes) == 1 else (3, 224, 224)
    return (3, height, width) if height == width or not square else (3, 224, 224)


def open_readers(datasets: Sequence[Dataset[Any]], labels: Sequence[Tensor], form: ReadForm) -> list[Reader]:
    """One for each data set; they hold the images where all of them take at most the form's memory as uint8.

    Others stream them, read and augmented by workers. Labels (N,) each must agree with those of the items.
    """
    parts = [_Frames(dataset, known, form) for dataset, known in zip(datasets, labels, strict=True)]
    if sum(map(len, labels)) * math.prod(form.size) > form.memory_bytes:
        return [ImageStream(frames, form.augmentation, form.processes) for frames in parts]
    return _in_memory(parts, form)


def is_picture(image: Any) -> bool:
    """Whether it is decoded here: a PIL image, a tensor of uint8 (3, H, W), an array of uint8 (H, W, 3)."""
    if isinstance(image, Tensor):
        return image.dtype == torch.uint8 and image.ndim == 3 and len(image) == 3
    if isinstance(image, np.ndarray):
        return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    return isinstance(image, Image.Image)


def pixels_of(image: Any) -> Tensor:
    """An image as uint8 (3, H, W)."""
    if isinstance(image, Image.Image):
        return tf.pil_to_tensor(in_colour(image))  # type: ignore[no-any-return]
    if isinstance(image, np.ndarray) and is_picture(image):
        return torch.from_numpy(image).permute(2, 0, 1)
    if isinstance(image, Tensor) and is_picture(image):
        return image
    kind = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
    fix = "pass PIL images or uint8 (3, H, W); secateur normalises and augments itself"
    raise SecateurError(f"an image is of type {kind}; {fix}")


@dataclass(frozen=True, eq=False)
class _Frames(Dataset[Tensor | str]):
    """Images as uint8 (3, H, W), or what is wrong with one: errors raised in workers grow a traceback."""

    dataset: Any
    labels: Tensor
    form: ReadForm

    def __getitem__(self, position: int) -> Tensor | str:
        try:
            image, label, *_ = self.dataset[position]
            if int(label) == self.labels[position]:
                return fitted(pixels_of(image), self.form.size, self.form.crop)
            return f"image {position} has label {label}, not {self.labels[position]} as in targets; fix one of them"
        except SecateurError as error:
            return str(error)


def _in_memory(parts: Sequence[_Frames], form: ReadForm) -> list[Reader]:
    """Readers that return what streaming returns, without decoding again."""
    done, total, held = 0, sum(len(frames.labels) for frames in parts), list[Reader]()
    for frames in parts:
        pixels = torch.empty(len(frames.labels), *form.size, dtype=torch.uint8)
        asked = split_into(torch.arange(len(pixels)), 256)
        for positions, part in zip(asked, ImageStream(frames, None, form.processes)(asked), strict=True):
            pixels[positions] = part
            done += len(positions)
            if form.progress:
                form.progress(done, total)
        held.append(partial(_lookup, pixels))
    return held


def _lookup(pixels: Tensor, asked: Sequence[Tensor]) -> Iterator[Tensor]:
    return (pixels[positions] for positions in asked)
