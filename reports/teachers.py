"""What interim subnetworks are worth as teachers beside the dense network."""

from collections.abc import Iterator, Sequence

from ..models.costs.units import format_quantity
from ..rundir.outcomes import CandidateRecord, Stages

TEACHERS = ("network", "MACs", "holdout loss", "gain", "error", "teaches")
WORTH = (
    "Holdout loss of each alone, at the temperature that suits it best. Gain: by how much the loss falls when the "
    "network joins those that teach already. It teaches if it gains more than two errors; the dense one always does."
)


def candidates_of(stages: Stages) -> Sequence[CandidateRecord]:
    """The networks that were judged for the memory bank, the dense one first; none where none was beside it."""
    candidates = (stages.bank and stages.bank.candidates) or ()
    return candidates if len(candidates) > 1 else ()


def teachers(candidates: Sequence[CandidateRecord]) -> Iterator[list[str]]:
    """A row for each, to go under ``TEACHERS``.

    >>> dense = CandidateRecord(macs=4000, loss=0.3, gain=0.02, error=0.001, taken=True)
    >>> interim = CandidateRecord(macs=3000, loss=0.5, gain=0.001, error=0.004, taken=False)
    >>> for row in teachers([dense, interim]):
    ...     print(*row)
    dense 4K 0.3000 - - yes
    interim 1 3K 0.5000 +0.0010 0.0040 no
    """
    for number, each in enumerate(candidates):
        joined = [f"{each.gain:+.4f}", f"{each.error:.4f}"] if number else ["-", "-"]
        name, macs = f"interim {number}" if number else "dense", format_quantity(each.macs)
        yield [name, macs, f"{each.loss:.4f}", *joined, "yes" if each.taken else "no"]
