"""Data sets by name: train, holdout and test."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from ..errors import SecateurError, in_a_line
from ..models.zoo.registry import callable_at

FORMS = "digits, cifar10:ROOT, cifar100:ROOT, imagefolder:ROOT, path/to/file.py:function, package.module:function"


class Source(NamedTuple):
    """Train, holdout and test, the size of their images where it is known, and whether mirroring keeps a class."""

    parts: Sequence[Dataset[Any]]
    shape: tuple[int, int, int] | None = None
    flip: bool = True


def datasets(spec: str) -> Source:
    """The three data sets that ``spec`` names, one of ``FORMS``; a function of the user's returns all three."""
    form, _, root = spec.partition(":")
    if form in SOURCES:
        return SOURCES[form](root)
    if not is_code(spec):
        raise SecateurError(f"unknown data {spec!r}; pass one of: {FORMS}")
    function = callable_at(spec, SOURCES)
    with _said(f"{spec} failed", "fix it or pass other data"):
        parts = function()
    if not isinstance(parts, (tuple, list)) or [hasattr(part, "__len__") for part in parts] != [True] * 3:
        fix = "name a function that returns three map-style data sets"
        raise SecateurError(f"{spec!r} returns no (train, holdout, test); {fix}")
    return Source(parts)


def is_code(spec: str) -> bool:
    """Whether it is the place of a function, ``path/to/file.py:function`` or ``package.module:function``."""
    return spec.partition(":")[0] not in SOURCES and (":" in spec or spec.endswith(".py"))


def labels_of(dataset: Any) -> Tensor:
    """The class of every image, from ``targets`` where the data set keeps them, else read image by image.

    Shape: (N,) int64
    """
    if isinstance(dataset, Subset):
        return labels_of(dataset.dataset)[torch.as_tensor(dataset.indices, dtype=torch.int64)]
    fix = "let each item be (image, int), or pass task=, such as sc.Regression() or sc.MultiLabel()"
    with _said("the data set has no class numbers", fix):
        if hasattr(dataset, "targets") and getattr(dataset, "target_transform", None) is None:
            return _whole(torch.as_tensor(dataset.targets))
        return _whole(torch.tensor([_number(dataset[i][1]) for i in range(len(dataset))]))


def _number(label: Any) -> int:
    number = int(label)
    if not isinstance(label, str) and number != label:
        raise ValueError(f"a target is {float(label):.4g}")
    return number


def _whole(labels: Tensor) -> Tensor:
    """The same as whole numbers; ValueError where they are none."""
    if labels.ndim != 1:
        raise ValueError(f"targets are of shape {tuple(labels.shape)}")
    numbers = labels.to(torch.int64)
    if (numbers != labels).any():
        raise ValueError(f"a target is {float(labels[numbers != labels][0]):.4g}")
    return numbers


@contextmanager
def _said(fact: str, fix: str) -> Iterator[None]:
    """Whatever the user's own code raises, in one line."""
    try:
        yield
    except SecateurError:
        raise
    except Exception as error:
        raise SecateurError(f"{fact} ({in_a_line(error)}); {fix}") from error


def classes_of(parts: Sequence[Any]) -> tuple[str, ...] | None:
    """The class names on which all parts that know any agree."""
    named = [names for names in map(_class_names, parts) if names]
    for names in named[1:]:
        if names != named[0]:
            odd = ", ".join(sorted({*names} ^ {*named[0]})) or "their order"
            raise SecateurError(f"train and test differ in their classes ({odd}); pass the same classes for both")
    return named[0] if named else None


def _class_names(dataset: Any) -> tuple[str, ...]:
    if isinstance(dataset, Subset):
        return _class_names(dataset.dataset)
    return tuple(map(str, getattr(dataset, "classes", ())))


def _digits(_root: str) -> Source:
    from sklearn.datasets import load_digits

    raw = load_digits()
    grey = torch.from_numpy(raw.images * (255 / 16)).round().to(torch.uint8)
    labels = torch.from_numpy(raw.target)
    digits = TensorDataset(grey[:, None].expand(-1, 3, -1, -1), labels)
    held, test = _tail(labels, 0.4), _tail(labels, 0.2)
    parts = [_by_class(digits, labels, part) for part in (~held, held & ~test, test)]
    return Source(parts, (3, 32, 32), flip=False)


def _cifar(source: str, root: str) -> Source:
    opened = getattr(torchvision.datasets, source)
    try:
        train, test = opened(root, train=True), opened(root, train=False)
    except (RuntimeError, OSError) as error:
        fix = "unpack the python version of its archive there (nothing is downloaded)"
        raise SecateurError(f"no whole {source} in the folder {root!r}; {fix}") from error
    everything = torch.ones(len(test), dtype=torch.bool)
    return Source([*_held_out(train), _by_class(test, labels_of(test), everything)])


def _imagefolder(root: str) -> Source:
    test = Path(root, "test")
    train, test = Path(root, "train"), test if test.is_dir() else Path(root, "val")
    return Source([*_held_out(_folder(train)), _folder(test)])


def _folder(folder: Path) -> Any:
    if not folder.is_dir():
        raise SecateurError(f"no folder {folder}; lay the images out as ROOT/train/CLASS/, ROOT/test/CLASS/")
    try:
        return torchvision.datasets.ImageFolder(str(folder), loader=_opened)
    except FileNotFoundError as error:
        raise SecateurError(f"{error} Give every class a folder with images in {folder}") from error


def _opened(path: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:  # by format Pillow raises OSError, SyntaxError, struct.error, ...
        raise SecateurError(f"{path} is not a readable image; remove or replace it") from error


SOURCES: dict[str, Callable[[str], Source]] = {
    "digits": _digits,
    "cifar10": partial(_cifar, "CIFAR10"),
    "cifar100": partial(_cifar, "CIFAR100"),
    "imagefolder": _imagefolder,
}


def _tail(labels: Tensor, share: float, names: Sequence[str] | None = None) -> Tensor:
    """True for the last ``share`` of each class, in the order given, at least one image; (N,) bool."""
    tail = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        positions = (labels == label).nonzero().flatten()
        if len(positions) < 2:
            fact = f"class {names[label] if names else label} has {len(positions)} training image(s)"
            raise SecateurError(f"{fact}; it needs two or more, one is held out")
        tail[positions[-max(1, round(share * len(positions))) :]] = True
    return tail


def _by_class(dataset: Dataset[Any], labels: Tensor, chosen: Tensor) -> Subset[Any]:
    order = torch.argsort(labels, stable=True)
    return Subset(dataset, order[chosen[order]].tolist())


def _held_out(train: Any) -> tuple[Subset[Any], Subset[Any]]:
    labels = labels_of(train)
    held = _tail(labels, 0.1, train.classes)
    return _by_class(train, labels, ~held), _by_class(train, labels, held)
