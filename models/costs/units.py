"""The kinds of cost that a budget may limit, and how people write amounts of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

from ...errors import SecateurError

COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
TO = ".."  # between the two ends of a range: 25%..80%


@dataclass(frozen=True)
class CostUnit:
    """A cost of one image: the ``option`` that limits it, its ``unit``, and the ``scales`` that amounts are written in.

    Amounts are kept to ``digits`` behind the point, so that equal ones are equal however they were summed.
    """

    option: str
    unit: str
    scales: Mapping[str, float]
    example: str
    digits: int = 0

    def read(self, text: str) -> tuple[float, str]:
        """A number and what it counts: ``%``, or one of the scales."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%|[a-z]*)\s*", text, re.IGNORECASE)
        if not found or found[2].lower() not in ("%", *self.scales):
            raise SecateurError(
                f"budget {text!r} is not a share or a number of {self.unit}; write 50% or {self.example}"
            )
        return float(found[1]), found[2].lower()

    def amount(self, text: str, dense: float) -> float:
        """``50%`` of the dense network's cost, or an amount such as ``62M``, ``1.5G``, ``40600000``, ``5ms``."""
        number, scale = self.read(text)
        amount = self.floor(number * {**self.scales, "%": dense / 100}[scale])
        if not 0 < amount <= dense:
            raise SecateurError(
                f"budget {text} is {format_quantity(amount)} {self.unit} and the dense network has {format_quantity(dense)}; "
                "give more than 0 and at most 100%"
            )
        return amount

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


def format_quantity(number: float) -> str:
    """Four digits and a unit: 40.55M."""
    size, unit = next((each for each in ((1e9, "G"), (1e6, "M"), (1e3, "K")) if number >= each[0]), (1, ""))
    return f"{number / size:.4g}{unit}"


def parse_range(text: str) -> tuple[str, str]:
    """What is written for both ends: ``25%..80%``, or one amount for both."""
    parts = text.split(TO)
    if len(parts) > 2 or not all(part.strip() for part in parts):
        raise SecateurError(f"budget {text!r} is no amount and no range; write 50% or 25%..80%")
    return parts[0], parts[-1]
