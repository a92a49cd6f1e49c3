"""The channel groups and costs of a network, and whether a budget can be met, before any search."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from textwrap import wrap
from typing import Any

from ..tracing.atoms import FloatArray, IntArray
from ..tracing.groups import ChannelGroup
from .budget import Budget
from .units import COST_UNITS, TO, format_quantity
from .widths import Space, least_share

# The costs that a profile shows: the head of the column, and the unit of its numbers.
SHOWN = {
    "macs": ("MACs", ""),
    "parameters": ("parameters", ""),
    "memory": ("peak activations", "B"),
    "latency": ("latency", "s"),
}
CELL = 19  # columns that a cost takes
COLUMNS = 100  # that a printed line takes at most
BLUE = "#0072b2"
FOLDED = 12  # more frozen groups than this share a row where they share their reason


@dataclass(frozen=True)
class Layer:
    """A convolution, linear layer or product of activations, and its dense MACs."""

    name: str
    macs: int


@dataclass(frozen=True)
class Line:
    """One channel group.

    ``least``: the fewest channels that stay; ``layers`` and ``tensors``: how many it lies in; ``share``: of the
    dense MACs, of all its layers; ``normed``: pruning changes the statistics of a norm; ``frozen``: why it can't
    be pruned. ``made_at`` and ``read_at`` are the layers, in order of execution, that make and read its channels.
    """

    name: str
    width: int
    least: int
    layers: int
    tensors: int
    share: float
    normed: bool
    frozen: str | None
    made_at: tuple[int, ...]
    read_at: tuple[int, ...]


@dataclass(frozen=True, repr=False)
class Profile:
    """The groups of a network, its costs from the least widths to dense, and whether a budget can be met.

    ``layers`` are in order of execution. ``limits`` are the budget's, ``least`` and ``dense`` the costs at the least
    and dense widths, all by the name of the cost: MACs, parameters, peak activation bytes of one image, and its
    seconds (only where they were measured). The lines' shares overlap, since a layer between two groups counts in
    both; in ``prunable_share`` each layer counts once. ``uncounted``: operations that no cost includes. ``uncompared``:
    the self-check could not compare outputs, and went by shapes alone.
    """

    lines: tuple[Line, ...]
    layers: tuple[Layer, ...]
    limits: Mapping[str, float]
    least: Mapping[str, float]
    dense: Mapping[str, float]
    prunable_share: float
    uncounted: tuple[str, ...]
    uncompared: bool = False

    def __repr__(self) -> str:
        macs = f"{format_quantity(self.least_macs)}{TO}{format_quantity(self.dense_macs)}"
        groups = f"prunable={len(self.prunable)}, frozen={len(self.frozen)}"
        return f"Profile({groups}, macs={macs}, satisfiable={self.satisfiable})"

    @property
    def least_macs(self) -> int:
        """MACs at the least widths."""
        return int(self.least["macs"])

    @property
    def dense_macs(self) -> int:
        """MACs at the dense widths."""
        return int(self.dense["macs"])

    @property
    def satisfiable(self) -> bool:
        """Whether the least widths cost no more than the budget."""
        return all(self.least[name] <= limit for name, limit in self.limits.items())

    @property
    def prunable(self) -> tuple[Line, ...]:
        """The groups that can be pruned."""
        return tuple(line for line in self.lines if line.frozen is None)

    @property
    def frozen(self) -> tuple[Line, ...]:
        """The groups that can't."""
        return tuple(line for line in self.lines if line.frozen is not None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``inspect --json`` prints them; None for a latency that was not measured."""
        plain = asdict(self)
        least, dense = plain.pop("least"), plain.pop("dense")
        share, uncounted = plain.pop("prunable_share"), plain.pop("uncounted")
        note = {"uncompared": True} if plain.pop("uncompared") else {}
        for name in SHOWN:
            plain |= {f"least_{name}": least.get(name), f"dense_{name}": dense.get(name)}
        return {**plain, "prunable_share": share, "uncounted": uncounted, "satisfiable": self.satisfiable, **note}

    def _repr_html_(self) -> str:
        """As a table, in a notebook."""
        head = "".join(
            f"<th>{name}</th>" for name in ("channel group", "width", "least", "MACs", "", "frozen because it")
        )
        costs = escape("\n".join(_cost_rows(self)))
        return f"<table><tr>{head}</tr>{''.join(map(_html_row, self.lines))}</table><pre>{costs}</pre>"

    def __str__(self) -> str:
        return "\n".join([*_prunable_rows(self), *_frozen_rows(self), "", *_cost_rows(self)])


def profile(groups: Sequence[ChannelGroup], frozen: Sequence[ChannelGroup], space: Space, budget: Budget) -> Profile:
    """Profile of a network at a budget."""
    costs, each = space.costs, _macs_by_layer(space)
    held = (costs.macs.rows > 0).any(1) | (costs.macs.columns > 0).any(1)
    widths = [*space.min_widths.tolist(), *(group.width for group in frozen)]
    return Profile(
        lines=tuple(_line(g, w, costs.products, each) for g, w in zip((*groups, *frozen), widths, strict=True)),
        layers=tuple(Layer(_module(name), int(cost)) for name, cost in zip(costs.products, each, strict=True)),
        limits=budget.limits,
        least=_costs_at(space, budget, space.min_widths),
        dense=_costs_at(space, budget, space.dense),
        prunable_share=float(each[held].sum() / each.sum()),
        uncounted=costs.uncounted,
    )


def _costs_at(space: Space, budget: Budget, widths: IntArray) -> dict[str, float]:
    """Every cost that is known, by its name; latency where the budget has its table."""
    known = [name for name in SHOWN if name != "latency" or budget.timed]
    return {name: budget.cost(name, space.costs, widths).item() for name in known}


def _macs_by_layer(space: Space) -> FloatArray:
    """The dense MACs of each product. Shape: → (L,)"""
    each: FloatArray = space.costs.macs.scale * space.costs.macs.factors(space.dense)
    return each


def _line(group: ChannelGroup, least: int, products: Sequence[str], macs: FloatArray) -> Line:
    made, read = ({m.tensor for m in group.members if m.reads == reads} for reads in (False, True))
    made_at, read_at = (tuple(i for i, name in enumerate(products) if name in side) for side in (made, read))
    share = float(macs[sorted({*made_at, *read_at})].sum() / macs.sum())
    layers = len({*products} & (made | read))
    return Line(
        group.name, group.width, least, layers, len(made | read), share, group.normed, group.frozen, made_at, read_at
    )


def _module(tensor: str) -> str:
    return tensor.rpartition(".")[0] or tensor


def _prunable_rows(profile: Profile) -> Iterator[str]:
    room = _room([line.name for line in profile.prunable])
    if profile.prunable:
        yield f"{'channel group':<{room}}{'width':>7}{'least':>7}{'layers':>8}{'tensors':>9}{'MACs':>8}"
    for line in profile.prunable:
        mark = "  changes a norm" if line.normed else ""
        yield (
            f"{_end(line.name, room):<{room}}{line.width:>7}{line.least:>7}{line.layers:>8}{line.tensors:>9}"
            f"{line.share:>8.1%}{mark}"
        )


def _frozen_rows(profile: Profile) -> Iterator[str]:
    """Name, width and reason of each frozen group; where they are many, those of one reason share a row."""
    rows = [(_names(lines), lines) for lines in _by_reason(profile.frozen)]
    room = _room([name for name, _ in rows])
    if rows:
        yield from ("", f"{'frozen':<{room}}{'width':>7}{'MACs':>8}  because it")
    total = max(profile.dense_macs, 1)
    for name, lines in rows:
        width = sum(line.width for line in lines)
        share = sum(profile.layers[i].macs for i in {i for line in lines for i in line.made_at + line.read_at}) / total
        yield from _hanging(f"{_end(name, room):<{room}}{width:>7}{share:>8.1%}  ", lines[0].frozen)


def _html_row(line: Line) -> str:
    """A group, its share of the MACs as a bar."""
    bar = f'<div style="width: {8 * line.share:.2f}em; height: 0.7em; background: {BLUE}"></div>'
    cells = (line.name, str(line.width), "" if line.frozen else str(line.least), f"{line.share:.1%}")
    texts = "".join(f"<td>{escape(each)}</td>" for each in cells)
    return f'<tr>{texts}<td style="text-align: left">{bar}</td><td>{escape(line.frozen or "")}</td></tr>'


def _by_reason(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines that share a row."""
    if len(lines) <= FOLDED:
        return [[line] for line in lines]
    return [[line for line in lines if line.frozen == reason] for reason in dict.fromkeys(x.frozen for x in lines)]


def _names(lines: Sequence[Line]) -> str:
    return lines[0].name if len(lines) == 1 else f"{len(lines)} groups"


def _cost_rows(profile: Profile) -> Iterator[str]:
    normed = sum(line.normed for line in profile.prunable)
    changed = f" ({normed} of them: pruning changes a norm)" if normed else ""
    yield (
        f"{len(profile.prunable)} groups can be pruned{changed}; they lie in layers with "
        f"{profile.prunable_share:.1%} of the MACs"
    )
    met = "can be met" if profile.satisfiable else "can NOT be met"
    least, dense, names = profile.least, profile.dense, list(profile.dense)
    yield from ("", f"{'':<8}{''.join(f'{SHOWN[name][0]:<{CELL}}' for name in names)}".rstrip())
    yield f"dense   {''.join(_cell(name, dense[name]) for name in names)}".rstrip()
    yield f"least   {''.join(_cell(name, least[name], dense[name]) for name in names)}".rstrip()
    yield f"budget  {''.join(_cell(name, profile.limits.get(name), dense[name]) for name in names)}{met}"
    if unmet := [name for name, limit in profile.limits.items() if least[name] > limit and least[name] < dense[name]]:
        enough = (f"--{COST_UNITS[name].option} {least_share(least[name] / dense[name])}" for name in unmet)
        yield f"pass {', '.join(enough)} or more"
    if profile.uncompared:
        yield from ("", "the self-check could not compare outputs, and went by shapes alone")
    if profile.uncounted:
        yield from ("", *wrap(f"not counted in any cost: {', '.join(profile.uncounted)}", COLUMNS))


def _cell(name: str, cost: float | None, dense: float | None = None) -> str:
    """A cost, with its share of the dense one; empty where there is none."""
    if cost is None:
        return " " * CELL
    share = f" ({cost / (dense or 1):.1%})" if dense is not None else ""
    return f"{format_quantity(cost)}{SHOWN[name][1]}{share}".ljust(CELL)


def _hanging(head: str, text: str | None) -> list[str]:
    """Text behind the head of its row, in lines of which the later ones begin below it."""
    return wrap(text or "", COLUMNS, initial_indent=head, subsequent_indent=" " * len(head))


def _room(names: Iterable[str]) -> int:
    return min(max(len("channel group"), *map(len, names), 0), 44)


def _end(name: str, room: int) -> str:
    """A name, or its end where it is too long."""
    return name if len(name) <= room else f"…{name[1 - room :]}"
