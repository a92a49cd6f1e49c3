"""The supernet: a trained dense network with its channel groups and costs."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor, nn

from ..errors import SecateurError
from .costs.budget import Budget, Space, Timed
from .costs.budget_range import BudgetRange
from .costs.cost import Costs
from .costs.profile import Profile, profile
from .costs.units import parse_range
from .evaluate import device_of
from .subnetwork import Subnetwork
from .tracing.atoms import IntArray, Trace
from .tracing.groups import ChannelGroup, Grouping, grouping
from .tracing.op_call import OpRule
from .tracing.trace import trace

LEAST_SHARE = 0.1  # of a group: single-channel layers are what users of other tools complain about


Least: TypeAlias = float | Mapping[str, float]  # a share; or of groups by name: a share, or whole channels


@dataclass(frozen=True)
class Constraints:
    """What the user asked of the widths: multiples of ``divisor``, least ones, groups that stay alike."""

    divisor: int = 1
    least: Least = LEAST_SHARE
    tie: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.divisor < 1 or not all(0 <= n <= 1 or n == int(n) >= 0 for n in self.shares.values()):
            raise SecateurError(
                f"divisor={self.divisor}, least={self.least}: give a divisor from 1, and a share in [0, 1] or a number "
                "of channels"
            )

    @property
    def shares(self) -> Mapping[str, float]:
        """``least`` by the names of groups, with wildcards."""
        return self.least if isinstance(self.least, Mapping) else {"*": self.least}


@dataclass(frozen=True, eq=False, repr=False)
class Supernet:
    """A trained network, never changed, and what pruning needs to know of it.

    ``grouping`` sorts its channels into groups. ``shapes`` are those of all parameters and buffers. ``head`` names the
    module that makes the network's output, if one does. ``trace`` is what all of it was sorted from, under
    the user's ``wishes``.
    """

    model: nn.Module
    examples: tuple[Tensor, ...]
    grouping: Grouping
    shapes: dict[str, tuple[int, ...]]
    head: str | None
    trace: Trace
    constraints: Constraints

    def __repr__(self) -> str:
        return f"Supernet({type(self.model).__name__}, groups={len(self.groups)}, frozen={len(self.frozen)})"

    @classmethod
    def of(
        cls,
        model: nn.Module,
        example: Tensor | tuple[Tensor, ...],
        *,
        divisor: int = 1,
        least: Least = LEAST_SHARE,
        freeze: Sequence[str] = (),
        tie: Sequence[tuple[str, str]] = (),
        check: bool = True,
        rules: Mapping[Any, OpRule] | None = None,
    ) -> "Supernet":
        """Trace ``model`` once on ``example`` (1, channels, height, width); its values don't matter.

        A network of several inputs takes a tuple of examples. Widths are multiples of ``divisor``. ``least`` is
        what stays of each group at least: a share, or for groups by name a share or a whole number of channels
        (``{"stem": 16, "layer1.*": 0.5}``; others keep a tenth). ``freeze`` names groups that shall stay whole;
        all names may hold wildcards. ``tie`` names pairs of groups that shall keep the same channels.
        ``check`` builds random subnetworks and freezes what does not run or gives other outputs. ``rules`` tell what
        operations of your own do to channels, which else freeze what they touch (``models/tracing/rules.py``). Raises
        SecateurError where the network does not run on such an input.
        """
        examples = tuple(
            each[:1].to(device_of(model)) for each in (example if isinstance(example, tuple) else (example,))
        )
        wishes = Constraints(divisor, least, tuple(tie))
        net = cls._sorted(model, examples, trace(model, *examples, rules=rules), wishes)
        freeze = [freeze] if isinstance(freeze, str) else freeze
        for name in least if isinstance(least, Mapping) else ():
            net.matching([name])
        net = net._tied().freezing({group.name: "was frozen by you" for group in net.matching(freeze)})
        if not check:
            return net
        from .surgery.verify import verified  # here, since it builds subnetworks of what is defined here

        return verified(net)

    @classmethod
    def _sorted(cls, model: nn.Module, examples: tuple[Tensor, ...], found: Trace, wishes: Constraints) -> "Supernet":
        groups = grouping(found)
        shapes = {name: tuple(map(len, along)) for name, along in found.tensors.items()}
        heads = [g.name for g in groups.frozen if g.frozen == "is an output of the network"]
        head = heads[0] if len(heads) == 1 else None
        return cls(model, examples, groups, shapes, head, found, wishes)

    @property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """Those that can be pruned."""
        return self.grouping.groups

    @property
    def frozen(self) -> tuple[ChannelGroup, ...]:
        """Those that can't, each with its reason."""
        return self.grouping.frozen

    @cached_property
    def space(self) -> Space:
        """The widths that a search may choose, and what they cost; worked out when it is first asked for."""
        dense = np.array([group.width for group in self.groups])
        return Space(
            Costs.of(self.trace, self.grouping), dense, _floor(self.groups, self.constraints), self.constraints.divisor
        )

    def _with(self, **ledgers: Any) -> "Supernet":
        """The same network after more was found out about its atoms."""
        return self._sorted(self.model, self.examples, replace(self.trace, **ledgers), self.constraints)

    def matching(self, patterns: Sequence[str]) -> list[ChannelGroup]:
        """The prunable groups whose names match one of the patterns. Raises SecateurError on one without a match."""
        names = [group.name for group in self.groups]
        for pattern in patterns:
            if not fnmatch.filter(names, pattern):
                raise SecateurError(f"no channel group is called {pattern!r}; the groups are {', '.join(names[:20])}")
        return [group for group in self.groups if any(fnmatch.fnmatch(group.name, p) for p in patterns)]

    def _named(self, name: str) -> ChannelGroup:
        """The one prunable group of this name."""
        found = self.matching([name])
        if len(found) > 1:
            raise SecateurError(f"{name!r} names {len(found)} channel groups; tie them two by two")
        return found[0]

    def freezing(self, reasons: Mapping[str, str]) -> "Supernet":
        """The same supernet with these groups frozen: name → reason."""
        groups = [group for group in self.groups if group.name in reasons]
        if not groups:
            return self
        more = [(np.unique(group.atoms(self.trace.tensors)), reasons[group.name]) for group in groups]
        return self._with(frozen=[*self.trace.frozen, *more])

    def _tied(self) -> "Supernet":
        """The same supernet with the groups tied that the user wished to be: channel i of both stays or goes."""
        more = []
        for pair in self.constraints.tie:
            one, other = (self._named(name) for name in pair)
            if one.width != other.width:
                raise SecateurError(
                    f"{one.name} has {one.width} channels and {other.name} {other.width}; tie groups of one width"
                )
            more.append((one.atoms(self.trace.tensors), other.atoms(self.trace.tensors)))
        return self._with(ties=[*self.trace.ties, *more]) if more else self

    @property
    def dense(self) -> Subnetwork:
        """The subnetwork that keeps everything."""
        return Subnetwork(tuple(tuple(range(group.width)) for group in self.groups))

    def macs(self, subnetwork: Subnetwork) -> int:
        """Multiply-accumulates of one image."""
        return int(self.space.costs.macs(subnetwork.widths))

    def parameters(self, subnetwork: Subnetwork) -> int:
        """Trainable numbers."""
        return int(self.space.costs.parameters(subnetwork.widths))

    def memory(self, subnetwork: Subnetwork) -> int:
        """Bytes of activations at the peak, for one image."""
        return int(self.space.costs.memory(subnetwork.widths))

    def limits(
        self,
        flops: str | None = None,
        *,
        params: str | None = None,
        memory: str | None = None,
        latency: str | None = None,
        timed: Timed | None = None,
    ) -> Budget:
        """Limits as a budget, whether or not this network can meet it; see ``budget``."""
        if latency is not None and timed is None:
            from .timing.latency import measure  # here, since it builds subnetworks of what is defined here

            timed = measure(self)
        wishes = {"macs": flops, "parameters": params, "memory": memory, "latency": latency}
        return Budget.parse(self.space, wishes, timed)

    def budget(
        self,
        flops: str | None = None,
        *,
        params: str | None = None,
        memory: str | None = None,
        latency: str | None = None,
        timed: Timed | None = None,
    ) -> Budget:
        """Limits that all hold, as a budget that this network can meet; else SecateurError.

        ``flops`` counts MACs: ``50%`` or ``62M``; ``params`` trainable numbers: ``0.1M``; ``memory`` bytes of
        activations at the peak: ``100K``; ``latency`` seconds of one image on this network's device: ``5ms``,
        by the table ``timed``, else by one that is measured now.
        """
        if not self.groups:
            reasons = "; ".join(f"{group.name} {group.frozen}" for group in self.frozen[:3]) or "it has no layers"
            raise SecateurError(f"this network has nothing to prune ({reasons}); give one with hidden layers")
        from .costs.bottlenecks import explain_floor  # here, since it reads what is defined here

        budget = self.limits(flops, params=params, memory=memory, latency=latency, timed=timed)
        self.space.require(budget, partial(explain_floor, self, budget))
        return budget

    def span(self, flops: str | None = None, *, timed: Timed | None = None, **others: str | None) -> BudgetRange:
        """The same for a range of limits, ``25%..80%``; a single amount stands for both of its ends."""
        wishes = {option: parse_range(text) for option, text in {"flops": flops, **others}.items() if text is not None}
        low, high = ({option: pair[end] for option, pair in wishes.items()} for end in (0, 1))
        return BudgetRange(self.budget(**low, timed=timed), self.budget(**high, timed=timed))

    def profile(self, budget: str | Budget = "50%") -> Profile:
        """Groups, frozen layers and why, costs from the least widths to dense, and if the budget can be met."""
        limits = self.limits(budget) if isinstance(budget, str) else budget
        return profile(self.groups, self.frozen, self.space, limits)

    def check(self, subnetwork: Subnetwork) -> None:
        """Raise SecateurError where the subnetwork is not one of this network."""
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


def _floor(groups: Sequence[ChannelGroup], wishes: Constraints) -> IntArray:
    """The least width of each group: what was asked, rounded up to the divisor. Shape: → (G,)"""
    wanted = []
    for group in groups:
        n = next((n for name, n in wishes.shares.items() if fnmatch.fnmatch(group.name, name)), LEAST_SHARE)
        wanted.append(min(group.width, n if isinstance(n, int) else n * group.width))
    floor = np.ceil(np.maximum(wanted, 1) / wishes.divisor - 1e-9).astype(np.int64) * wishes.divisor
    return np.minimum(floor, [group.width for group in groups])
