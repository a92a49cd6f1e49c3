"""Folders of images as people lay them out: which of them are for training, which are holdout, and which test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder

from ..errors import SecateurError
from ..seeds import derive_generator
from .holdout import DRAWN, SHARE, by_class, hold_out, read_share, tail
from .pictures import open_picture

TRAIN, HOLDOUT, TEST = "train", ("val", "valid", "validation"), "test"  # in any case
LAYOUT = "lay the images out as ROOT/train/CLASS/ and ROOT/test/CLASS/, with ROOT/val/CLASS/ as the holdout if you like"


class Laid(NamedTuple):
    """Train, holdout and test, and which folders they are, in words."""

    parts: Sequence[Dataset[Any]]
    note: str


def image_folders(root: str, holdout: str | None = None) -> Laid:
    """The three parts of the folders below ``root``.

    ``val``, ``valid`` or ``validation`` is the holdout where there is a ``test``, too, and else the test; without a
    holdout the last tenth of each class of ``train`` is. Where the folders of ``root`` are classes, a tenth is drawn as
    holdout and a fifth as test. ``holdout``: another folder, below ``root`` or anywhere, or a share of ``train``, 10%.
    """
    there = _folders(Path(root))
    if TRAIN not in there:
        if not there or there.keys() & {TEST, *HOLDOUT}:
            raise SecateurError(f"no folder {Path(root, TRAIN)}; {LAYOUT}{_found(there)}")
        return _drawn(_classes(Path(root)), holdout)
    train = _classes(there[TRAIN])
    usual = next((there[name] for name in HOLDOUT if name in there), None)
    test = there.get(TEST, usual)
    if test is None:
        raise SecateurError(f"no folder {Path(root, TEST)} and no val; {LAYOUT}{_found(there)}")
    share = read_share(holdout) if holdout else None
    held = None if share else _asked(Path(root), holdout) if holdout else usual if test != usual else None
    if held and held.resolve() == test.resolve():
        raise SecateurError(f"{held} is the only test folder; add {Path(root, TEST)}, or pass --holdout 10%")
    if held:
        return Laid([train, _classes(held), _classes(test)], f"holdout: {held.name}/, test: {test.name}/")
    share = share or SHARE
    parts = hold_out(train, torch.tensor(train.targets), share, train.classes)
    note = f"holdout: the last {100 * share:.4g}% of each class of {there[TRAIN].name}/, test: {test.name}/"
    return Laid([*parts, _classes(test)], note)


class _Classes(ImageFolder):  # type: ignore[misc]  # torchvision has no types
    """A folder of images for each class; hidden folders, such as .ipynb_checkpoints, are none."""

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        names = sorted(folder.name for folder in Path(directory).iterdir() if _is_shown(folder))
        if not names:
            raise FileNotFoundError(f"Couldn't find any class folder in {directory}.")
        return names, {name: number for number, name in enumerate(names)}


def _classes(folder: Path) -> Any:
    try:
        return _Classes(str(folder), loader=open_picture)
    except FileNotFoundError as error:
        raise SecateurError(f"{str(error).rstrip('.')}. Give every class a folder with images in {folder}") from error


def _drawn(everything: Any, holdout: str | None) -> Laid:
    """Of folders that are classes: a tenth, or ``holdout``, as holdout and a fifth as test, drawn from each class."""
    share = read_share(holdout or f"{SHARE:%}")
    if share is None or share >= 0.8:
        raise SecateurError(f"holdout {holdout!r} of folders that are classes; pass a share below 80%, such as 10%")
    labels = torch.tensor(everything.targets)
    order = torch.randperm(len(labels), generator=derive_generator(DRAWN, len(labels)))
    test, held = (_spread(labels, order, part, everything.classes) for part in (0.2, 0.2 + share))
    parts = [by_class(everything, labels, part) for part in (~held, held & ~test, test)]
    if not all(map(len, parts)):
        raise SecateurError(f"{everything.root} has too few images in a class to hold any out; pass 10 or more of each")
    note = f"no train/, folders are classes: {100 * share:.4g}% holdout, 20% test, drawn once for all"
    return Laid(parts, note)


def _spread(labels: Tensor, order: Tensor, share: float, names: Sequence[str]) -> Tensor:
    """True for a ``share`` of each class, the last in this ``order``. Shape: (N,) each → (N,) bool"""
    found = torch.zeros(len(labels), dtype=torch.bool)
    found[order] = tail(labels[order], share, names)
    return found


def _asked(root: Path, holdout: str) -> Path:
    """The folder that is asked for, below ``root`` or anywhere."""
    for folder in (root / holdout, Path(holdout)):
        if folder.is_dir():
            return folder
    there = _found(_folders(root))
    raise SecateurError(f"no folder {root / holdout} for the holdout{there}; pass one of them, or a share such as 10%")


def _folders(root: Path) -> Mapping[str, Path]:
    """The folders below ``root`` by their names in lower case."""
    return (
        {folder.name.lower(): folder for folder in sorted(root.iterdir()) if _is_shown(folder)} if root.is_dir() else {}
    )


def _is_shown(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def _found(there: Mapping[str, Path]) -> str:
    names = [folder.name for folder in there.values()]
    return f" (found: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''})" if names else ""
