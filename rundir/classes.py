"""The test metric of each class, before and after, as classes.json beside a fine-tuned network has it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files import read_json, write_json
from ..models.class_scores import ClassScore
from ..models.tasks.metric import Metric
from .outcomes import Count, Record, parse

CLASSES = "classes.json"


class ClassRow(Record, frozen=True, kw_only=True):
    """One class: how many test samples it has, and the metric of each network on them."""

    name: str
    n: Count | None = None
    dense: float
    pruned: float
    tuned: float
    teacher: float | None = None


class Classes(Record, frozen=True, kw_only=True):
    """All classes that occur among the test samples, in their order."""

    metric: str
    higher_is_better: bool = True
    rows: tuple[ClassRow, ...]


def class_table(metric: Metric, names: Sequence[str], scores: Mapping[str, Mapping[int, ClassScore]]) -> Classes | None:
    """The table of class scores by network; None where the task has no classes.

    A class that only some networks have a value for, as a mask that one alone predicts, is left out.

    >>> one, two = ({0: ClassScore(value, 9)} for value in (1.0, 0.5))
    >>> accuracy = Metric("accuracy", lambda output, target: output)
    >>> class_table(accuracy, ["cat"], {"dense": one, "pruned": two, "tuned": one}).rows
    (ClassRow(name='cat', n=9, dense=1.0, pruned=0.5, tuned=1.0, teacher=None),)
    """
    shared = sorted(set.intersection(*map(set, scores.values())))
    rows = tuple(
        ClassRow(
            name=names[number] if number < len(names) else str(number),
            n=scores["dense"][number].n,
            **{network: found[number].value for network, found in scores.items()},
        )
        for number in shared
    )
    return Classes(metric=metric.name, higher_is_better=metric.higher_is_better, rows=rows) if rows else None


def write_classes(classes: Classes, folder: Path) -> None:
    """classes.json in ``folder``, with its digest."""
    write_json(folder / CLASSES, classes.to_dict(), indent=None)


def read_classes(folder: Path) -> Classes | None:
    """The table in ``folder``; None where there is none, as in runs of an earlier version."""
    path = folder / CLASSES
    if not path.exists():
        return None
    return parse(read_json(path, fix="delete it, and the report leaves it out"), Classes, path)
