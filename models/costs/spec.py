"""Budgets as people write them, parsed once and not yet of any network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from .budget import Budget, Timed, cost_form
from .budget_range import BudgetRange
from .units import COST_UNITS, AmountRange

if TYPE_CHECKING:
    from .widths import Space


class OtherLimits(TypedDict, total=False):
    """The limits beside ``flops``, as keywords: ``params="0.1M"``, ``memory="100K"``, ``latency="5ms"``."""

    params: str | None
    memory: str | None
    latency: str | None


@dataclass(frozen=True)
class BudgetSpec:
    """The limits that were written, each an amount or a range of amounts; all of them hold.

    >>> spec = BudgetSpec.parse("25%..80%", latency="5ms")
    >>> print(spec)
    25%..80% 5ms latency
    >>> print(spec.low)
    25% 5ms latency
    """

    macs: AmountRange | None = None
    parameters: AmountRange | None = None
    memory: AmountRange | None = None
    latency: AmountRange | None = None

    @classmethod
    def parse(
        cls,
        flops: str | None = None,
        *,
        params: str | None = None,
        memory: str | None = None,
        latency: str | None = None,
    ) -> BudgetSpec:
        """The limits in these texts. Raises SecateurError on a text that is no amount and no range.

        Args:
            flops: MACs of one image, ``50%`` of the dense network's or ``62M``.
            params: Trainable numbers, ``50%`` or ``0.13M``.
            memory: Bytes of activations that live at once for one image, ``50%`` or ``100K``.
            latency: Seconds of one image, ``50%`` or ``5ms``.
        """
        texts = {"flops": flops, "params": params, "memory": memory, "latency": latency}
        given = ((name, unit, texts[unit.option]) for name, unit in COST_UNITS.items())
        return cls(**{name: unit.read_range(text) for name, unit, text in given if text is not None})

    def __str__(self) -> str:
        """``50%``, ``50% params 5ms latency``; empty without limits."""
        return " ".join(text if option == "flops" else f"{text} {option}" for option, text in self.texts.items())

    def __repr__(self) -> str:
        return f"BudgetSpec({', '.join(f'{option}={text!r}' for option, text in self.texts.items())})"

    @property
    def limits(self) -> Mapping[str, AmountRange]:
        """The limits that were given, by the name of the cost."""
        return {name: each for name in COST_UNITS if (each := getattr(self, name)) is not None}

    @property
    def texts(self) -> Mapping[str, str]:
        """The limits that were given, as they were written, by option."""
        return {COST_UNITS[name].option: each.text for name, each in self.limits.items()}

    @property
    def low(self) -> BudgetSpec:
        """The lower ends alone."""
        return self._each(lambda each: AmountRange(each.low.text, each.low, each.low))

    @property
    def high(self) -> BudgetSpec:
        """The upper ends alone."""
        return self._each(lambda each: AmountRange(each.high.text, each.high, each.high))

    def on(self, space: Space, timed: Timed | None = None) -> BudgetRange:
        """The budgets that these limits are for one network, whether or not it can meet them.

        Raises SecateurError on limits of nothing, or of more than the dense network costs, and on a limit of latency
        without the table ``timed``.
        """
        dense = {name: float(cost_form(name, space.costs, timed)(space.dense)) for name in self.limits}
        low = {name: each.low.limit(dense[name]) for name, each in self.limits.items()}
        high = {name: each.high.limit(dense[name]) for name, each in self.limits.items()}
        return BudgetRange(Budget(**low, timed=timed), Budget(**high, timed=timed))

    def _each(self, end: Callable[[AmountRange], AmountRange]) -> BudgetSpec:
        return replace(self, **{name: end(each) for name, each in self.limits.items()})
