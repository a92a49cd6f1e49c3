"""Data sets by name: train, holdout and test."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from ..errors import SecateurError, in_a_line
from ..models.zoo.registry import callable_at
from .folders import image_folders
from .holdout import SHARE, by_class, hold_out, read_share, tail

FORMS = "digits, cifar10:ROOT, cifar100:ROOT, imagefolder:ROOT, path/to/file.py:function, package.module:function"


class Source(NamedTuple):
    """Train, holdout and test, the size of their images where it is known, and whether mirroring keeps a class.

    ``note``: which files are used for what, where that was chosen here.
    """

    parts: Sequence[Dataset[Any]]
    shape: tuple[int, int, int] | None = None
    flip: bool = True
    note: str = ""


def datasets(spec: str, holdout: str | None = None) -> Source:
    """The three data sets that ``spec`` names, one of ``FORMS``; a function of the user's returns all three.

    ``holdout``: a share of the training samples, or a folder, instead of the usual one.
    """
    form, _, root = spec.partition(":")
    if form in SOURCES:
        return SOURCES[form](root, holdout)
    if not is_code(spec):
        raise SecateurError(f"unknown data {spec!r}{_meant(spec)}; pass one of: {FORMS}")
    function = callable_at(spec, SOURCES)
    with _said(f"{spec} failed", "fix it or pass other data"):
        parts = function()
    return Source(_three(parts, spec, holdout))


def _three(parts: Any, spec: str, holdout: str | None) -> Sequence[Any]:
    """What a function of the user's returned; of (train, test) the holdout is split off in ``Data.of``."""
    sized = [hasattr(part, "__len__") for part in parts] if isinstance(parts, (tuple, list)) else []
    if sized == [True] * 2:
        return [parts[0], _share(holdout), parts[1]]
    if sized != [True] * 3:
        fix = "name a function that returns three map-style data sets, or (train, test)"
        raise SecateurError(f"{spec!r} returns no (train, holdout, test); {fix}")
    if holdout:
        raise SecateurError(f"{spec} returns its holdout; leave out --holdout {holdout}")
    return list(parts)


def _meant(spec: str) -> str:
    """A folder is likely one of images."""
    return f"; did you mean imagefolder:{spec}?" if spec and Path(spec).is_dir() else ""


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


def _digits(_root: str, holdout: str | None) -> Source:
    if holdout:
        raise SecateurError(f"digits has a holdout already; leave out --holdout {holdout}")
    from sklearn.datasets import load_digits

    raw = load_digits()
    grey = torch.from_numpy(raw.images * (255 / 16)).round().to(torch.uint8)
    labels = torch.from_numpy(raw.target)
    digits = TensorDataset(grey[:, None].expand(-1, 3, -1, -1), labels)
    held, test = tail(labels, 0.4), tail(labels, 0.2)
    parts = [by_class(digits, labels, part) for part in (~held, held & ~test, test)]
    return Source(parts, (3, 32, 32), flip=False)


def _cifar(source: str, root: str, holdout: str | None) -> Source:
    share = _share(holdout)
    opened = getattr(torchvision.datasets, source)
    try:
        train, test = opened(root, train=True), opened(root, train=False)
    except (RuntimeError, OSError) as error:
        fix = "unpack the python version of its archive there (nothing is downloaded)"
        raise SecateurError(f"no whole {source} in the folder {root!r}; {fix}") from error
    everything = torch.ones(len(test), dtype=torch.bool)
    parts = hold_out(train, labels_of(train), share, train.classes)
    return Source([*parts, by_class(test, labels_of(test), everything)])


def _share(holdout: str | None) -> float:
    """The share of the training samples that is asked for."""
    share = read_share(holdout) if holdout else SHARE
    if share is None:
        raise SecateurError(f"no folder {holdout!r} can be the holdout of these data; pass a share, such as 10%")
    return share


def _imagefolder(root: str, holdout: str | None) -> Source:
    parts, note = image_folders(root, holdout)
    return Source(parts, note=note)


SOURCES: dict[str, Callable[[str, str | None], Source]] = {
    "digits": _digits,
    "cifar10": partial(_cifar, "CIFAR10"),
    "cifar100": partial(_cifar, "CIFAR100"),
    "imagefolder": _imagefolder,
}
