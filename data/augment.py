"""What training shows of an image: named augmentations of pixels, or a transform of the user's own."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from ..errors import SecateurError, in_a_line
from ..seeds import derive_seed, random_streams, seed_streams

Augment: TypeAlias = Callable[[Tensor], Any]  # uint8 (3, H, W) → the same, or float in 0..1
Shape: TypeAlias = tuple[int, int, int]

CROP_FLIP = "crop-flip"
LARGE = 96  # pixels, from which on random resized crops are the usual augmentation
PAD = 4


def augmentation(named: str | Augment | None, shape: Shape, flip: bool) -> Augment | None:
    """The transform of this name for images of this shape; None is ``crop-flip``, which ``Images`` draws itself.

    Args:
        named: ``crop-flip``: a crop out of a border of 4 pixels, mirrored; ``imagenet``: a random resized crop,
            mirrored; ``trivial``: TrivialAugment (Müller & Hutter 2021, https://arxiv.org/abs/2103.10158) after one of
            these, whichever is usual for the size; ``none``; or a transform. By default ``crop-flip``, from 96 pixels
            on ``imagenet``.
        shape: (3, height, width).
        flip: whether a mirrored image keeps its class.

    >>> augmentation(None, (3, 32, 32), True)
    >>> augmentation("none", (3, 32, 32), True)
    Identity()
    """
    large = min(shape[1:]) >= LARGE
    if named is None:
        named = "imagenet" if large else CROP_FLIP
    if not isinstance(named, str):
        return named
    require_augmentation(named)
    mirrored = v2.RandomHorizontalFlip(0.5 if flip else 0.0)
    resized, cropped = v2.RandomResizedCrop(shape[1:], antialias=True), v2.RandomCrop(shape[1:], padding=PAD)
    known: dict[str, Augment | None] = {
        CROP_FLIP: None,
        "imagenet": v2.Compose([resized, mirrored]),
        "trivial": v2.Compose([resized if large else cropped, mirrored, v2.TrivialAugmentWide()]),
        "none": nn.Identity(),
    }
    return known[named]


AUGMENTATIONS = (CROP_FLIP, "imagenet", "trivial", "none")


def is_code(named: str) -> bool:
    """Whether it is the place of a function, ``path/to/file.py:function`` or ``package.module:function``."""
    return ":" in named


def require_augmentation(named: str) -> None:
    """Raise SecateurError where no augmentation is called so."""
    if named not in AUGMENTATIONS:
        names = ", ".join(AUGMENTATIONS)
        raise SecateurError(f"no augmentation is called {named!r}; pass {names} or path/to/file.py:function")


def augmented(pixels: Iterable[Tensor], augment: Augment, seeds: Iterable[tuple[int, ...]]) -> Tensor:
    """Each image as the transform shows it, every random stream drawn from the image's own seed.

    Shape: pixels uint8 (3, H, W) each → (B, 3, H, W)
    """
    with random_streams():
        return torch.stack([_shown(image, augment, seed) for image, seed in zip(pixels, seeds, strict=True)])


def name_of(augment: Augment) -> str:
    """What distinguishes it from others, the same in every process: a transform's parameters, or a function's name."""
    return repr(augment) if isinstance(augment, nn.Module) else getattr(augment, "__qualname__", type(augment).__name__)


def _shown(image: Tensor, augment: Augment, seed: tuple[int, ...]) -> Tensor:
    seed_streams(derive_seed(*seed))
    try:
        shown = augment(image)
    except Exception as error:
        raise SecateurError(
            f"the augmentation failed on an image of {tuple(image.shape)} ({in_a_line(error)}); "
            "pass a transform of torchvision.transforms.v2 that takes uint8 tensors"
        ) from error
    if not isinstance(shown, Tensor) or shown.shape != image.shape:
        found = tuple(shown.shape) if isinstance(shown, Tensor) else type(shown).__name__
        raise SecateurError(
            f"the augmentation makes {found} of an image of {tuple(image.shape)}; let it end in that size, as a tensor"
        )
    return shown.as_subclass(Tensor)
