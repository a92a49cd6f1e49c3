"""The three parts of a data set, of what a user passes for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..errors import SecateurError
from ..models.tasks.classification import Classification
from ..models.tasks.task import Task
from ..seeds import random_streams
from .holdout import SHARE, draw_holdout, hold_out, require_share
from .sources import labels_of

INPUTS = ("image", "img", "pixel_values", "input", "inputs")  # usual names in items that are dictionaries
TARGETS = ("label", "labels", "target", "targets", "mask", "annotation")

Part: TypeAlias = Dataset[Any] | DataLoader[Any] | Sequence[Any]


def three_parts(
    train: Part, holdout: Part | float, test: Part | None, *, task: Task, name: str
) -> tuple[Part, Part, Part]:
    """Train, holdout and test; of two parts the second is the test, and the holdout a share of the first.

    Raises SecateurError for streams, and where there are fewer than two parts.
    """
    if test is None:
        if isinstance(holdout, (int, float)):
            raise SecateurError("one data set is no train and test; pass sc.Data.of(train, test)")
        return three_parts(train, SHARE, holdout, task=task, name=name)
    for part in (train, holdout, test):
        if isinstance(dataset_of(part), IterableDataset):
            fix = "pass map-style data sets: a memory bank and a resumed training know images by their position"
            raise SecateurError(f"{name} is a stream; {fix}")
    train, test = as_pairs(train), as_pairs(test)
    if isinstance(holdout, (int, float)):
        train, holdout = _split(train, holdout, task)
    return train, as_pairs(holdout), test


@dataclass(frozen=True, eq=False)
class NamedItems(Dataset[Any]):
    """A data set whose items are dictionaries, as pairs of what two names stand for."""

    items: Any
    input: str
    target: str

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> tuple[Any, Any]:
        item = self.items[position]
        return item[self.input], item[self.target]


def as_pairs(part: Part) -> Part:
    """The part, of items (input, target); those of dictionaries with usual names are taken apart.

    Raises SecateurError for dictionaries of other names.

    >>> as_pairs([{"image": 1, "label": 0, "id": 7}])[0]
    (1, 0)
    """
    if isinstance(part, (DataLoader, NamedItems)) or not len(part):  # type: ignore[arg-type]
        return part
    try:
        with random_streams(0):
            item: Any = part[0]
    except Exception:  # it is said where items are read
        return part
    if not isinstance(item, Mapping):
        return part
    found = [[name for name in usual if name in item] for usual in (INPUTS, TARGETS)]
    if any(len(names) != 1 for names in found):
        raise SecateurError(f"items are dictionaries of {', '.join(map(str, item))}; let each be (input, target)")
    return NamedItems(part, found[0][0], found[1][0])


def dataset_of(part: Any) -> Any:
    """The data set of a loader, or what was passed instead of one."""
    return part.dataset if isinstance(part, DataLoader) else part


def _split(train: Part, share: float, task: Task) -> tuple[Part, Part]:
    """The last ``share`` of each class as holdout; of samples that have no class a share that is drawn."""
    require_share(share)
    whole = dataset_of(train)
    if isinstance(task, Classification):
        with random_streams(0):
            kept, held = hold_out(whole, labels_of(whole), share, getattr(whole, "classes", None))
    else:
        kept, held = draw_holdout(whole, share)
    return _like(train, kept), _like(train, held)


def _like(train: Part, subset: Dataset[Any]) -> Part:
    """The subset, read as the loader reads where there is one."""
    if not isinstance(train, DataLoader):
        return subset
    how: dict[str, Any] = {"collate_fn": train.collate_fn, "num_workers": train.num_workers}
    return DataLoader(subset, batch_size=train.batch_size, **how)
