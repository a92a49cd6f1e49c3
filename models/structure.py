"""The structure of a trained network: its channel groups, the constraints on their widths, and what widths cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
from torch import Tensor, nn

from ..errors import SecateurError
from ..signatures import checked
from . import patterns
from .costs.cost import Costs
from .costs.widths import Space
from .subnetwork import Subnetwork
from .tracing.atoms import IntArray, Trace
from .tracing.groups import ChannelGroup, Grouping, grouping
from .tracing.layout import POSITIONAL, Layout

LEAST_SHARE = 0.1  # of a group: single-channel layers are what users of other tools complain about

Least: TypeAlias = float | Mapping[str, float]  # a share; or by group name: a share, or a whole number of channels
Divisor: TypeAlias = int | Mapping[str, int]  # of all groups; or by group name, 1 for those that it does not match
Net = TypeVar("Net", bound="Structure")


@dataclass(frozen=True)
class Constraints:
    """The user's constraints on widths: multiples of ``divisor``, minimum widths, pairs of groups tied together."""

    divisor: Divisor = 1
    least: Least = LEAST_SHARE
    tie: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        steps = self.divisor.values() if isinstance(self.divisor, Mapping) else [self.divisor]
        if min(steps, default=1) < 1 or not all(0 <= n <= 1 or n == int(n) >= 0 for n in self.shares.values()):
            raise SecateurError(
                f"divisor={self.divisor}, least={self.least}: pass a divisor from 1, and a share in [0, 1] or a number "
                "of channels"
            )

    @property
    def shares(self) -> Mapping[str, float]:
        """``least`` by group name, with wildcards."""
        return self.least if isinstance(self.least, Mapping) else {"*": self.least}

    def steps(self, groups: Sequence[ChannelGroup]) -> int | tuple[int, ...]:
        """The divisor of all groups, or of each."""
        divisor = self.divisor
        if not isinstance(divisor, Mapping):
            return divisor
        return tuple(patterns.value_for(group.name, divisor, 1) for group in groups)

    def min_widths(self, groups: Sequence[ChannelGroup]) -> IntArray:
        """The minimum width of each group, rounded up to the divisor. Shape: → (G,)"""
        least = []
        for group in groups:
            n = patterns.value_for(group.name, self.shares, LEAST_SHARE)
            least.append(min(group.width, n if isinstance(n, int) else n * group.width))
        steps = np.asarray(self.steps(groups), np.int64)
        floor: IntArray = np.ceil(np.maximum(least, 1) / steps - 1e-9).astype(np.int64) * steps
        return np.minimum(floor, [group.width for group in groups])


@dataclass(frozen=True, eq=False, repr=False)
class Structure:
    """A trained network, never changed, and its channels sorted into groups.

    ``grouping`` holds the groups, sorted from the ``trace``. ``shapes`` are those of all parameters and buffers.
    ``head`` names the module that makes the network's output, if a single one does. ``constraints`` are the user's.
    ``layout``: how the examples become the arguments of forward. ``uncompared``: the self-check had no inputs to
    compare outputs on, and went by shapes alone.
    """

    model: nn.Module
    examples: tuple[Tensor, ...]
    grouping: Grouping
    shapes: dict[str, tuple[int, ...]]
    head: str | None
    trace: Trace
    constraints: Constraints
    layout: Layout = POSITIONAL
    uncompared: bool = False

    def __repr__(self) -> str:
        name, model = type(self).__name__, type(self.model).__name__
        return f"{name}({model}, groups={len(self.groups)}, frozen={len(self.frozen)})"

    @classmethod
    def from_trace(
        cls: type[Net],
        model: nn.Module,
        examples: tuple[Tensor, ...],
        trace: Trace,
        constraints: Constraints,
        *,
        layout: Layout = POSITIONAL,
    ) -> Net:
        """The structure of a traced network; ties are not applied yet, see ``tied``."""
        found = grouping(trace)
        shapes = {name: tuple(map(len, along)) for name, along in trace.tensors.items()}
        heads = [g.name for g in found.frozen if g.frozen == "is an output of the network"]
        head = heads[0] if len(heads) == 1 else None
        return cls(model, examples, found, shapes, head, trace, constraints, layout)

    @property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """The groups that can be pruned."""
        return self.grouping.groups

    @property
    def frozen(self) -> tuple[ChannelGroup, ...]:
        """The groups that cannot be pruned, each with its reason."""
        return self.grouping.frozen

    @cached_property
    def space(self) -> Space:
        """The widths that a search may choose, and their costs; computed on first use."""
        dense = np.array([group.width for group in self.groups])
        costs = Costs.of(self.trace, self.grouping)
        return Space(costs, dense, self.constraints.min_widths(self.groups), self.constraints.steps(self.groups))

    def in_steps(self: Net, divisor: Divisor) -> Net:
        """The same structure with widths in multiples of ``divisor``."""
        return replace(self, constraints=replace(self.constraints, divisor=divisor))

    @property
    def dense(self) -> Subnetwork:
        """The subnetwork that keeps everything."""
        return Subnetwork(tuple(tuple(range(group.width)) for group in self.groups))

    def run(self, model: nn.Module, tensors: Sequence[Tensor] | None = None) -> Any:
        """What a network of this structure returns for these tensors, laid out as the examples are; or for those."""
        return self.layout.run(model, self.examples if tensors is None else tensors)

    @checked
    def macs(self, subnetwork: Subnetwork) -> int:
        """Multiply-accumulates of one image."""
        return int(self.space.costs.macs(subnetwork.widths))

    @checked
    def parameters(self, subnetwork: Subnetwork) -> int:
        """Trainable numbers."""
        return int(self.space.costs.parameters(subnetwork.widths))

    def memory(self, subnetwork: Subnetwork) -> int:
        """Bytes of activations at the peak, for one image."""
        return int(self.space.costs.memory(subnetwork.widths))

    def matching(self, names: Sequence[str]) -> list[ChannelGroup]:
        """The prunable groups whose names match one of these patterns.

        Raises SecateurError on a pattern without a match.
        """
        found = {*patterns.matching([group.name for group in self.groups], names)}
        return [group for group in self.groups if group.name in found]

    def freezing(self: Net, reasons: Mapping[str, str]) -> Net:
        """The same structure with these groups frozen: name → reason."""
        groups = [group for group in self.groups if group.name in reasons]
        if not groups:
            return self
        more = [(np.unique(group.atoms(self.trace.tensors)), reasons[group.name]) for group in groups]
        return self._with(frozen=[*self.trace.frozen, *more])

    def tied(self: Net) -> Net:
        """The same structure with the pairs of ``constraints.tie`` tied: channel i of both stays or goes.

        Raises SecateurError where a name stands for no group or for several, or the widths of a pair differ.
        """
        more = []
        for pair in self.constraints.tie:
            one, other = (self._named(name) for name in pair)
            if one.width != other.width:
                raise SecateurError(
                    f"{one.name} has {one.width} channels and {other.name} {other.width}; tie groups of one width"
                )
            more.append((one.atoms(self.trace.tensors), other.atoms(self.trace.tensors)))
        return self._with(ties=[*self.trace.ties, *more]) if more else self

    def check(self, subnetwork: Subnetwork) -> None:
        """Raise SecateurError unless the subnetwork is one of this network."""
        if len(subnetwork.kept) != len(self.groups):
            raise SecateurError(
                f"a subnetwork of {len(subnetwork.kept)} channel groups is not for this network, which has "
                f"{len(self.groups)}; use the network it was found on"
            )
        for group, channels in zip(self.groups, subnetwork.kept, strict=True):
            if channels[-1] >= group.width:
                raise SecateurError(
                    f"channel {channels[-1]} is kept of group {group.name}, which has {group.width} channels; "
                    "use the network the subnetwork was found on"
                )

    def _named(self, name: str) -> ChannelGroup:
        """The one prunable group of this name."""
        found = self.matching([name])
        if len(found) > 1:
            raise SecateurError(f"{name!r} names {len(found)} channel groups; tie them two by two")
        return found[0]

    def _with(self: Net, **ledgers: Any) -> Net:
        """The same network after more was found out about its atoms."""
        trace = replace(self.trace, **ledgers)
        found = self.from_trace(self.model, self.examples, trace, self.constraints, layout=self.layout)
        return replace(found, uncompared=self.uncompared)
