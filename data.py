"""Images split three ways: in memory when they fit, streamed when not, the same figures either way."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torchvision.transforms.v2 import functional as tf

from .models.batches import Batch, Views
from .models.errors import SecateurError
from .models.evaluate import device_of
from .models.trace import evaluating
from .sources import classes_of, datasets, labels_of

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
FIXED = 1  # the seed of fixed views

Shape: TypeAlias = tuple[int, int, int]
Channels: TypeAlias = tuple[float, float, float]
Progress: TypeAlias = Callable[[int, int], None]  # images read, images in all
Reader: TypeAlias = Callable[[Sequence[Tensor]], Iterator[Tensor]]  # positions (B,) → uint8 (B, 3, H, W), in turn


@dataclass(frozen=True, eq=False)
class Images:
    """One split: ``read`` fetches its pixels, from memory or from disk; nothing else tells the two apart.

    Shape: labels (N,) int64; ``pad`` in pixels; ``mean`` and ``std`` of channels scaled to 0..1; ``layout`` of what
    is given, in memory
    """

    read: Reader
    labels: Tensor
    shape: Shape
    mean: Channels = MEAN
    std: Channels = STD
    flip: bool = True
    pad: int = 4
    layout: torch.memory_format = torch.contiguous_format

    def __len__(self) -> int:
        return len(self.labels)

    def steps(self, size: int) -> int:
        """Batches of ``size`` images an epoch has; an incomplete one is dropped unless it is the only one."""
        return max(1, len(self) // size)

    def batches(self, size: int, limit: int | None = None, view: int | None = None) -> Iterator[Batch]:
        """The images as they are, or in a fixed view, in one fixed order that mixes the classes; at most ``limit``.

        Shape: images (B, 3, H, W) float32, normalised; labels and indices (B,) int64
        """
        chunks = _chunks(self._mixed[:limit], size)
        draws = None if view is None else self._fixed(view)
        for indices, pixels in zip(chunks, self.read(chunks), strict=True):
            seen = pixels if draws is None else cropped(pixels, self.pad, draws[indices])
            yield Batch(self._normalised(seen), self.labels[indices], indices)

    def epoch(
        self,
        size: int,
        seed: int,
        views: int = 1,
        start: int = 0,
        *,
        fixed: Sequence[int] = (),
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[Views]:
        """The ``steps(size)`` shuffled and augmented batches of one epoch, from batch number ``start`` on.

        ``fixed``: numbers of the fixed views that are shown in place of new ones. ``part``: of every batch only this
        part of so many, the very images that it has in the whole.

        Shape: images (views, B, 3, H, W) float32, normalised; labels and indices (B,) int64
        """
        order = torch.randperm(len(self), generator=_generator(seed, 0))
        chunks = _chunks(order, size)[start : self.steps(size)]
        mine, draws = [_part(chunk, part) for chunk in chunks], [self._fixed(view) for view in fixed]
        for number, (chunk, indices, pixels) in enumerate(zip(chunks, mine, self.read(mine), strict=True), start):
            generator = _generator(seed, 1 + number)
            new = (drawn(len(chunk), self.pad, self.flip, generator) for _ in range(0 if fixed else views))
            each = [draw[indices] for draw in draws] or [_part(draw, part) for draw in new]
            seen = torch.stack([cropped(pixels, self.pad, draw) for draw in each])
            yield Views(self._normalised(seen), self.labels[indices], indices)

    def _fixed(self, view: int) -> Tensor:
        """How every image is cropped and mirrored in this fixed view, whatever the seed of training. Shape: → (N, 3)"""
        return drawn(len(self), self.pad, self.flip, _generator(FIXED, view))

    @cached_property
    def _mixed(self) -> Tensor:
        return torch.randperm(len(self), generator=_generator(0, 0))

    def _normalised(self, pixels: Tensor) -> Tensor:
        laid = pixels.flatten(0, -4).contiguous(memory_format=self.layout).view(pixels.shape)
        scaled = tf.to_dtype(laid, torch.float32, scale=True)
        return tf.normalize(scaled, list(self.mean), list(self.std), inplace=True)  # type: ignore[no-any-return]


def drawn(count: int, pad: int, flip: bool, generator: torch.Generator) -> Tensor:
    """For each image the row and column at which its crop begins, and whether it is mirrored. Shape: → (count, 3) int64

    torchvision.transforms.v2 draws one crop for a whole batch, a defect of published training code.
    """
    corners = torch.randint(2 * pad + 1, (2, count), generator=generator)
    mirrored = torch.rand(count, generator=generator) < (0.5 if flip else 0.0)
    return torch.stack([*corners, mirrored.long()], 1)


def cropped(pixels: Tensor, pad: int, draws: Tensor) -> Tensor:
    """The images cropped out of a black border of ``pad`` pixels and mirrored, each as it was drawn.

    Shape: pixels uint8 (B, 3, H, W), draws (B, 3) → as pixels
    """
    (top, left, mirrored), (height, width) = draws.T, pixels.shape[2:]
    windows = F.pad(pixels, [pad] * 4).unfold(2, height, 1).unfold(3, width, 1)  # (B, 3, 2p+1, 2p+1, H, W)
    crops = windows[torch.arange(len(pixels)), :, top, left]
    return torch.where(mirrored[:, None, None, None].bool(), crops.flip(3), crops)


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: what is trained on, what the search scores on, and what is looked at once, at the end."""

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
                raise SecateurError(f"the {part} split of {self.name} is empty; give it at least one image")
            if unknown:
                raise SecateurError(f"{part} has label {unknown[0]}, not in {known}; number classes from 0")

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
        progress: Progress | None = None,
    ) -> "Data":
        """Three map-style data sets of (image, label), as one.

        Images are PIL or uint8 (3, H, W), not randomly transformed; they are held in memory when the three
        sets together take at most ``memory_bytes`` as uint8, else streamed.
        """
        parts = (train, holdout, test)
        if any(isinstance(part, IterableDataset) for part in parts):
            fix = "give map-style data sets, since a memory bank and a resumed training know images by their position"
            raise SecateurError(f"{name} is a stream; {fix}")
        labels = [labels_of(part) for part in parts]
        names = classes_of(parts) or tuple(map(str, range(1 + max(labels[0].tolist(), default=-1))))
        shape = shape or _common_shape(train)
        if len(shape) != 3 or shape[0] != 3 or min(shape) < 1:
            raise SecateurError(f"images of shape {shape}; give (3, height, width), grey is made colour")
        frames = [_Frames(*part, shape) for part in zip(parts, labels, strict=True)]
        readers: list[Reader] = [partial(_stream, part) for part in frames]
        if sum(map(len, labels)) * math.prod(shape) <= memory_bytes:
            readers = _in_memory(frames, progress)
        one, two, three = (Images(*x, shape, mean, std, flip) for x in zip(readers, labels, strict=True))
        return cls(name, one, two, three, names)

    def suited(self, model: nn.Module) -> "Data":
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
    memory_bytes: int = 2_000_000_000,
    progress: Progress | None = None,
) -> Data:
    """The data set that ``spec`` names, one of ``sources.FORMS``; ``shape`` (3, H, W) defaults to its own.

    Sets of at most ``memory_bytes`` are read into memory; ``progress`` hears (images read, images in all).
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


def _common_shape(dataset: Any) -> Shape:
    """The size of the images where eight of them agree on one square size, else 3x224x224."""
    some = {round(i) for i in np.linspace(0, len(dataset) - 1, 8)} if len(dataset) else set()
    sizes = {tuple(_pixels(dataset[i][0]).shape) for i in some}
    _, height, width = sizes.pop() if len(sizes) == 1 else (3, 224, 224)
    return (3, height, width) if height == width else (3, 224, 224)


def _pixels(image: Any) -> Tensor:
    """An image as uint8 (3, H, W)."""
    if isinstance(image, Image.Image):
        return tf.pil_to_tensor(image.convert("RGB"))  # type: ignore[no-any-return]
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim == 3 and len(image) == 3:
        return image
    kind = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
    fix = "give PIL images or uint8 (3, H, W), secateur normalises and augments itself"
    raise SecateurError(f"an image is of type {kind}; {fix}")


def _fitted(pixels: Tensor, height: int, width: int) -> Tensor:
    """Scaled until it covers (height, width), then cropped about the centre."""
    scale = max(height / pixels.shape[1], width / pixels.shape[2])
    size = [round(side * scale) for side in pixels.shape[1:]]
    if size != list(pixels.shape[1:]):
        pixels = tf.resize(pixels, size, antialias=True)
    return tf.center_crop(pixels, [height, width])  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class _Frames(Dataset[Tensor | str]):
    """Images as uint8 (3, H, W), or what is wrong with one: errors raised in workers grow a traceback."""

    dataset: Any
    labels: Tensor
    shape: Shape

    def __getitem__(self, position: int) -> Tensor | str:
        try:
            image, label = self.dataset[position]
            if int(label) == self.labels[position]:
                return _fitted(_pixels(image), *self.shape[1:])
            return f"image {position} has label {label}, not {self.labels[position]} as in targets; mend one"
        except SecateurError as error:
            return str(error)


def _stacked(frames: list[Tensor | str]) -> Tensor | str:
    wrong = [frame for frame in frames if isinstance(frame, str)]
    return wrong[0] if wrong else torch.stack([frame for frame in frames if isinstance(frame, Tensor)])


def _stream(frames: _Frames, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
    """uint8 (B, 3, H, W) for the positions of each chunk, decoded as they are asked for."""
    loader = DataLoader(
        frames,
        batch_sampler=[chunk.tolist() for chunk in chunks],
        collate_fn=_stacked,
        num_workers=min(4, _cores()) if sum(map(len, chunks)) >= 2000 else 0,
        generator=torch.Generator(),  # else each pass would draw from the global random state
    )
    for batch in loader:
        if isinstance(batch, str):
            raise SecateurError(batch)
        yield batch


def _in_memory(parts: Sequence[_Frames], progress: Progress | None) -> list[Reader]:
    """Readers that give what streaming gives, without decoding again."""
    done, total, held = 0, sum(len(frames.labels) for frames in parts), list[Reader]()
    for frames in parts:
        pixels = torch.empty(len(frames.labels), *frames.shape, dtype=torch.uint8)
        chunks = _chunks(torch.arange(len(pixels)), 256)
        for chunk, part in zip(chunks, _stream(frames, chunks), strict=True):
            pixels[chunk] = part
            done += len(chunk)
            if progress:
                progress(done, total)
        held.append(partial(_taken, pixels))
    return held


def _taken(pixels: Tensor, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
    return (pixels[chunk] for chunk in chunks)


def _chunks(order: Tensor, size: int) -> list[Tensor]:
    return [order[i : i + size] for i in range(0, len(order), size)]


def _part(whole: Tensor, part: tuple[int, int]) -> Tensor:
    number, parts = part
    return whole.tensor_split(parts)[number]


def _generator(seed: int, stream: int) -> torch.Generator:
    """A generator of its own for every (seed, stream); SeedSequence mixes the two, a sum would collide."""
    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
