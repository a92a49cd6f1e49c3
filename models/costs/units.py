"""The kinds of cost that a budget may limit, and amounts of them as people write them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor

from ...errors import SecateurError

COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
LARGEST = 1e18  # of a cost: beyond any network's, and whole numbers are still exact
LONGEST = 40  # characters of what a user wrote that an error shows
TO = ".."  # between the two ends of a range: 25%..80%


@dataclass(frozen=True)
class CostUnit:
    """A cost of one image: the ``option`` that limits it, its ``unit``, and the ``scales`` that amounts are written in.

    Limits are kept to ``digits`` behind the point, so that equal ones are equal however they were summed.
    """

    option: str
    unit: str
    scales: Mapping[str, float] = field(hash=False)
    example: str
    digits: int = 0

    def read(self, text: str) -> "Amount":
        """The amount that a text such as ``50%``, ``62M`` or ``5ms`` stands for. Raises SecateurError on any other."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%|[a-z]*)\s*", text, re.IGNORECASE)
        if not found or found[2].lower() not in ("%", *self.scales) or float(found[1]) > LARGEST:
            shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
            raise SecateurError(
                f"budget {shown!r} is not a share or a number of {self.unit}; write 50% or {self.example}"
            )
        return Amount(text, float(found[1]), found[2].lower(), self)

    def read_range(self, text: str) -> "AmountRange":
        """The two ends of ``25%..80%``, or one amount for both."""
        low, high = parse_range(text)
        return AmountRange(text, self.read(low), self.read(high))

    def floor(self, amount: float) -> float:
        """The next amount at or below that is kept."""
        whole = floor(amount * 10.0**self.digits + 1e-6)
        return whole / 10**self.digits if self.digits else whole  # whole numbers stay int, as costs are


# By the name of the cost, as ``Costs`` and ``Budget`` have it.
COST_UNITS = {
    "macs": CostUnit("flops", "MACs", COUNTS, "62M"),
    "parameters": CostUnit("params", "parameters", COUNTS, "0.13M"),
    "memory": CostUnit("memory", "bytes", COUNTS, "100K"),
    "latency": CostUnit("latency", "seconds", TIMES, "5ms", digits=9),
}


@dataclass(frozen=True)
class Amount:
    """An amount as it was written: a ``number`` of per cent of the dense network's cost, or of one of the scales."""

    text: str
    number: float
    scale: str
    unit: CostUnit

    def of(self, dense: float) -> float:
        """The amount for a network whose dense cost is ``dense``, in units."""
        return self.number * {**self.unit.scales, "%": dense / 100}[self.scale]

    def limit(self, dense: float) -> float:
        """The same as a limit: rounded down. Raises SecateurError outside of 0 (excluded) to ``dense``.

        A number up to 100 without a unit is no limit where it is far below the cost: a share is meant.
        """
        limit = self.unit.floor(self.of(dense))
        if not self.scale and 0 < self.number <= 100 and 1000 * limit < dense:
            share = 100 * self.number if self.number < 1 else self.number
            raise SecateurError(f"budget {self.text} is {self.text} {self.unit.unit}; did you mean {share:g}%?")
        if not 0 < limit <= dense:
            raise SecateurError(
                f"budget {self.text} is {format_quantity(limit)} {self.unit.unit} and the dense network has "
                f"{format_quantity(dense)}; pass more than 0 and at most 100%"
            )
        return limit


@dataclass(frozen=True)
class AmountRange:
    """The amounts at both ends of a range, as it was written; twice the same where it is one amount."""

    text: str
    low: Amount
    high: Amount


def format_quantity(number: float) -> str:
    """The number to four digits, with a unit: 40.55M."""
    size, unit = next((each for each in ((1e9, "G"), (1e6, "M"), (1e3, "K")) if number >= each[0]), (1, ""))
    return f"{number / size:.4g}{unit}"


def parse_range(text: str) -> tuple[str, str]:
    """The texts of both ends: of ``25%..80%``, or of one amount, which stands for both."""
    parts = text.split(TO)
    if len(parts) > 2 or not all(part.strip() for part in parts):
        raise SecateurError(f"budget {text!r} is no amount and no range; write 50% or 25%..80%")
    return parts[0], parts[-1]
