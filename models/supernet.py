"""The supernet: a trained dense network with its channel groups and costs."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from .atoms import Atoms
from .budget import Budget, Space
from .cost import Costs
from .errors import SecateurError
from .evaluate import device_of
from .groups import ChannelGroup, grouping
from .profile import Profile, profile
from .subnetwork import Subnetwork
from .trace import trace

LEAST_SHARE = 0.1  # of a group: single-channel layers are what users of other tools complain about


@dataclass(frozen=True, eq=False)
class Supernet:
    """A trained network, never changed, and what pruning needs to know of it.

    ``groups`` can be pruned, ``frozen`` ones can't, each with its reason. ``shapes`` are those of all
    parameters and buffers. ``head`` names the module that makes the network's output, if one does. ``atoms``
    is the trace that all of it was sorted from.
    """

    model: nn.Module
    example: Tensor
    groups: tuple[ChannelGroup, ...]
    frozen: tuple[ChannelGroup, ...]
    space: Space
    shapes: dict[str, tuple[int, ...]]
    head: str | None

    atoms: Atoms

    @classmethod
    def of(
        cls,
        model: nn.Module,
        example: Tensor,
        *,
        divisor: int = 1,
        least: float = LEAST_SHARE,
        freeze: Sequence[str] = (),
        check: bool = True,
    ) -> "Supernet":
        """Trace ``model`` once on ``example`` (1, channels, height, width); its values don't matter.

        Widths are multiples of ``divisor``; at least the share ``least`` of each group stays. ``freeze`` names
        groups that shall stay whole, with wildcards (``layer1.*``). ``check`` builds random subnetworks and
        freezes what does not run or gives other outputs. Raises SecateurError where the network does not
        run on such an input or nothing in it can be pruned.
        """
        if divisor < 1 or not 0 <= least <= 1:
            raise SecateurError(f"divisor={divisor}, least={least}: give a divisor from 1 and a least share in [0, 1]")
        example = example[:1].to(device_of(model))
        net = cls._sorted(model, example, trace(model, example), divisor, least)
        net = net.freezing({group.name: "was frozen by you" for group in net.matching(freeze)})
        if not check:
            return net
        from .check import checked  # here, since it builds subnetworks of what is defined here

        return checked(net)

    @classmethod
    def _sorted(cls, model: nn.Module, example: Tensor, atoms: Atoms, divisor: int, least: float) -> "Supernet":
        found = grouping(atoms)
        if not found.groups:
            reasons = "; ".join(f"{group.name} {group.frozen}" for group in found.frozen[:3]) or "it has no layers"
            raise SecateurError(f"this network has nothing to prune ({reasons}); give one with hidden layers")
        trainable = {name: tuple(p.shape) for name, p in model.named_parameters()}
        shapes = {**trainable, **{name: tuple(b.shape) for name, b in model.named_buffers()}}
        dense = np.array([group.width for group in found.groups])
        floor = np.ceil(np.maximum(dense * least, 1) / divisor - 1e-9).astype(np.int64) * divisor
        space = Space(Costs.of(atoms, found, trainable), dense, np.minimum(floor, dense), divisor, least)
        heads = [g.name for g in found.frozen if g.frozen == "is an output of the network"]
        head = heads[0] if len(heads) == 1 else None
        return cls(model, example, found.groups, found.frozen, space, shapes, head, atoms)

    def matching(self, patterns: Sequence[str]) -> list[ChannelGroup]:
        """The prunable groups whose names match one of the patterns. Raises SecateurError on one without a match."""
        names = [group.name for group in self.groups]
        for pattern in patterns:
            if not fnmatch.filter(names, pattern):
                raise SecateurError(f"no channel group is called {pattern!r}; the groups are {', '.join(names[:20])}")
        return [group for group in self.groups if any(fnmatch.fnmatch(group.name, p) for p in patterns)]

    def freezing(self, reasons: Mapping[str, str]) -> "Supernet":
        """The same supernet with these groups frozen: name → reason."""
        if not reasons:
            return self
        made = [
            (np.unique(self.atoms.tensors[member.tensor][member.dim][member.places]), reasons[group.name])
            for group in self.groups
            if group.name in reasons
            for member in group.members[:1]
        ]
        atoms = replace(self.atoms, frozen=[*self.atoms.frozen, *made])
        return self._sorted(self.model, self.example, atoms, self.space.divisor, self.space.least_share)

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

    def budget(self, text: str) -> Budget:
        """``50%`` or ``62M`` as a budget that this network can meet; else SecateurError."""
        budget = Budget.parse(text, self.macs(self.dense))
        self.space.require(budget)
        return budget

    def profile(self, budget: str = "50%") -> Profile:
        """Groups, frozen layers and why, costs from the least widths to dense, and if the budget can be met."""
        return profile(self.groups, self.frozen, self.space, budget)

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
