"""The supernet: a trained dense network with its channel groups, costs and budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from ..errors import SecateurError
from ..signatures import checked
from .bottlenecks import explain_floor
from .costs.budget import Budget, Timed
from .costs.budget_range import BudgetRange
from .costs.profile import Profile, profile
from .costs.spec import BudgetSpec, OtherLimits
from .structure import LEAST_SHARE, Constraints, Divisor, Least, Structure
from .surgery.verify import verified
from .timing.latency import measure
from .tracing.eager import eager
from .tracing.layout import Example, cast, readings
from .tracing.op_call import OpRule
from .tracing.trace import trace

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Supernet(Structure):
    """A trained network, never changed, with everything pruning needs to know about it.

    >>> import torch, secateur as sc
    >>> net = sc.Supernet.of(sc.constructor("resnet20", classes=10)(), torch.zeros(1, 3, 32, 32))
    >>> net
    Supernet(ResNet, groups=12, frozen=1)
    >>> net.macs(net.dense)
    40551040
    """

    @classmethod
    @checked
    def of(
        cls,
        model: nn.Module,
        example: Example,
        *,
        divisor: Divisor = 1,
        least: Least = LEAST_SHARE,
        freeze: Sequence[str] = (),
        tie: Sequence[tuple[str, str]] = (),
        check: bool = True,
        rules: Mapping[Any, OpRule] | None = None,
    ) -> Supernet:
        """The supernet of ``model``, found in one forward pass.

        Raises SecateurError where the network does not run on the example, and on a name that no group has. Names of
        groups may hold wildcards: ``layer1.*``.

        Args:
            model: The trained network; held, not copied, and never changed.
            example: An input of shape (1, channels, height, width); or a tuple or list of several, or a dictionary of
                keywords, which may hold lists, dictionaries and constants. Of integers only the range matters,
                of images only the shape.
            divisor: Widths are multiples of it; of some groups by name (``{"layer3.*": 16}``; others have 1).
            least: The minimum to keep of each group: a share, or by name a share or a whole number of channels
                (``{"stem": 16, "layer1.*": 0.5}``; other groups keep at least a tenth).
            freeze: Names of groups that are not pruned.
            tie: Pairs of names of groups that keep the same channels.
            check: Build random subnetworks, and freeze the groups whose narrowing fails or changes the outputs.
            rules: What your own operations do to channels, by operation; without one they freeze what they touch. See
                ``secateur.models.tracing.rules``.

        >>> import torch, secateur as sc
        >>> model = sc.constructor("resnet20", classes=10)()
        >>> net = sc.Supernet.of(model, torch.zeros(1, 3, 32, 32), divisor=8, freeze=["layer1.*"])
        >>> net.space.min_widths.tolist()
        [8, 8, 8, 8, 8, 8, 8, 8, 8]
        """
        model = eager(model)
        net = cls._read(model, example, rules or {}, Constraints(divisor, least, tuple(tie)))
        freeze = [freeze] if isinstance(freeze, str) else freeze
        for name in least if isinstance(least, Mapping) else ():
            net.matching([name])
        net = net.tied().freezing({group.name: "was frozen by you" for group in net.matching(freeze)})
        return verified(net) if check else net

    @classmethod
    def _read(
        cls, model: nn.Module, example: Example, rules: Mapping[Any, OpRule], constraints: Constraints
    ) -> Supernet:
        """The supernet by the first reading of the example that the network runs on."""
        errors: list[SecateurError] = []
        for reading in readings(example):
            tensors = cast(reading.tensors, model)
            try:
                found = trace(model, *tensors, rules=rules, layout=reading.layout)
            except SecateurError as error:
                errors.append(error)
            else:
                return cls.from_trace(model, tensors, found, constraints, layout=reading.layout)
        raise errors[0]

    @checked
    def limits(
        self, flops: str | BudgetSpec | None = None, *, timed: Timed | None = None, **others: Unpack[OtherLimits]
    ) -> Budget:
        """Limits as a budget, whether or not this network can meet it; arguments as of ``budget``."""
        return _single(self._ends(flops, timed, others))

    @checked
    def budget(
        self, flops: str | BudgetSpec | None = None, *, timed: Timed | None = None, **others: Unpack[OtherLimits]
    ) -> Budget:
        """Limits that all hold, as a budget; SecateurError where this network cannot meet it.

        Args:
            flops: MACs of one image: ``50%`` of the dense network's, or ``62M``. Or all limits as a ``BudgetSpec``.
            timed: The table of latencies that a limit of latency uses; by default one is measured now.
            others: ``params``, trainable numbers (``0.1M``); ``memory``, bytes of activations at the peak for one
                image (``100K``); ``latency``, seconds of one image on this network's device (``5ms``). Shares of the
                dense network's cost (``50%``), too.

        >>> import torch, secateur as sc
        >>> net = sc.Supernet.of(sc.constructor("resnet20", classes=10)(), torch.zeros(1, 3, 32, 32))
        >>> net.budget("50%")
        Budget(macs=20275520)
        >>> net.budget("25M", params="70%")
        Budget(macs=25000000, parameters=188805)
        """
        return _single(self.span(flops, timed=timed, **others))

    @checked
    def span(
        self, flops: str | BudgetSpec | None = None, *, timed: Timed | None = None, **others: Unpack[OtherLimits]
    ) -> BudgetRange:
        """The same for ranges of limits, ``25%..80%``; a single amount stands for both of its ends."""
        if not self.groups:
            reasons = "; ".join(f"{group.name} {group.frozen}" for group in self.frozen[:3]) or "it has no layers"
            raise SecateurError(f"this network has nothing to prune ({reasons}); pass one with hidden layers")
        ends = self._ends(flops, timed, others)
        for budget in (ends.low, ends.high):
            self.space.require(budget, partial(explain_floor, self, budget))
        return ends

    @checked
    def profile(self, budget: str | BudgetSpec | Budget = "50%") -> Profile:
        """The channel groups, the frozen layers and why, the costs, and whether a budget can be met.

        Args:
            budget: MACs (``50%``, ``62M``), or limits of several costs.

        >>> import torch, secateur as sc
        >>> net = sc.Supernet.of(sc.constructor("resnet20", classes=10)(), torch.zeros(1, 3, 32, 32))
        >>> profile = net.profile("50%")
        >>> profile
        Profile(prunable=12, frozen=1, macs=656.7K..40.55M, satisfiable=True)
        >>> print(profile.lines[0].name, profile.lines[0].width, profile.lines[0].frozen)
        conv1 16 None
        """
        limits = budget if isinstance(budget, Budget) else self.limits(budget)
        return replace(profile(self.groups, self.frozen, self.space, limits), uncompared=self.uncompared)

    def _ends(self, flops: str | BudgetSpec | None, timed: Timed | None, others: OtherLimits) -> BudgetRange:
        spec = flops if isinstance(flops, BudgetSpec) else BudgetSpec.parse(flops, **others)
        if spec.latency is not None and timed is None:
            timed = measure(self)
        return spec.on(self.space, timed)


def _single(ends: BudgetRange) -> Budget:
    if not ends.is_single:
        raise SecateurError(f"{ends} is a range of budgets; pass one amount, or use Supernet.span")
    return ends.low
