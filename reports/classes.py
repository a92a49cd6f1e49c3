"""The test metric of each class as rows of a table, those that lost most first."""

from collections.abc import Sequence

from ..models.score import PERCENT
from ..rundir.classes import Classes, ClassRow
from .titles import title_of

FEW = 12  # classes that are all shown; of more, the MOST that lost most
MOST = 10


def head(classes: Classes, untrained: bool) -> list[str]:
    """The names of the columns; changes are from the teacher where the dense network had no training."""
    beside = "teacher" if untrained else "dense"
    before, pruned, tuned = (title_of(name, untrained) for name in (beside, "pruned", "tuned"))
    unit = ", points" if classes.metric in PERCENT else ""
    return ["class", before, tuned, f"change{unit}", pruned]


def cells(row: ClassRow, classes: Classes, untrained: bool) -> list[str | tuple[str, str]]:
    """One class, beside its name the number of its images.

    >>> row = ClassRow(name="cat", n=40, dense=0.95, pruned=0.8, tuned=0.925)
    >>> cells(row, Classes(metric="accuracy", rows=(row,)), untrained=False)
    [('cat', 'n = 40'), '95.0%', '92.5%', '-2.5', '80.0%']
    """
    share, moved = classes.metric in PERCENT, change(row, untrained)
    before, tuned, pruned = (
        f"{each:.1%}" if share else f"{each:.4g}" for each in (_before(row, untrained), row.tuned, row.pruned)
    )
    changed = "0" if moved == 0 else f"{100 * moved:+.1f}" if share else f"{moved:+.4g}"
    name = row.name if row.n is None else (row.name, f"n = {row.n:,}")
    return [name, before, tuned, changed, pruned]


def change(row: ClassRow, untrained: bool) -> float:
    """The metric after fine-tuning, less that of the dense network, or of the teacher."""
    return row.tuned - _before(row, untrained)


def _before(row: ClassRow, untrained: bool) -> float:
    """The metric of the network that the slim one is compared with."""
    return row.teacher if untrained and row.teacher is not None else row.dense


def worst_first(classes: Classes, untrained: bool) -> Sequence[ClassRow]:
    """The rows, the largest loss first."""
    sign = 1 if classes.higher_is_better else -1
    return sorted(classes.rows, key=lambda row: (sign * change(row, untrained), sign * row.tuned))


def caption(classes: Classes, untrained: bool) -> str:
    """How many classes lost, how many did not, and what one sample of the rarest is worth.

    >>> rows = [ClassRow(name=str(n), n=20, dense=0.9, pruned=0.5, tuned=0.9 - 0.1 * (n > 7)) for n in range(10)]
    >>> caption(Classes(metric="accuracy", rows=tuple(rows)), untrained=False)
    'Test accuracy of each class: 0 of 10 classes gained, 2 lost, 8 stayed. One image of 20 is 5.0 points.'
    """
    sign = 1 if classes.higher_is_better else -1
    changes = [sign * change(row, untrained) for row in classes.rows]
    gained, lost = sum(each > 0 for each in changes), sum(each < 0 for each in changes)
    of = f"{gained} of {len(changes)} classes gained, {lost} lost, {len(changes) - gained - lost} stayed."
    fewest = min((row.n for row in classes.rows if row.n), default=0)
    grain = f" One image of {fewest:,} is {100 / fewest:.1f} points." if fewest and classes.metric == "accuracy" else ""
    return f"Test {classes.metric} of each class: {of}{grain}"
