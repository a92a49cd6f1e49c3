"""What a search of the widths is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

from ..errors import SecateurError
from ..models.costs.budget_range import BudgetRange
from ..models.tracing.atoms import FloatArray
from .allocation import ALLOCATION_RULES, CURVE_RULES, AllocationRule
from .evidence import CurveSource
from .greedy import Greedy
from .importance.scores import Importance
from .samplers.cmaes_sampler import ONE_OBJECTIVE, CmaEsSampler
from .samplers.samplers import SAMPLERS, Sampler, sampler_name, tpe

SAMPLE = 1000  # holdout images that score a subnetwork; the start and the finalists are scored again on all of them
GREEDY = "greedy"  # the fine search that is not a sampler


@dataclass(frozen=True, eq=False)
class SearchConfig:
    """All budgets of ``span`` are searched, with ``trials`` of a sampler after the coarse search.

    Args:
        span: the budgets; the winner is that of the lower end.
        trials: subnetworks that the fine search evaluates.
        sampler: seed → Optuna sampler; or ``Greedy()``, which narrows group by group from the dense network.
        seed: of the sampler.
        images: of the holdout, that score a trial.
        storage: the URL of a database that several processes share; None: a file in the folder of the search.
        start_shares: the shares of the groups' channels, (G,) each, that other searches found good. Fitted to the
            span they are starts beside the coarse proposals.
        scores: importance scores by name, which rank the channels; None: those of ``default_evidence``.
        curves: sources of error curves by name, beside those of the default scores.
        rules: allocation rules by name, which read scores.
        curve_rules: allocation rules by name, which read error curves.
    """

    span: BudgetRange
    trials: int = 100
    _: KW_ONLY
    sampler: Sampler | Greedy = tpe
    seed: int = 0
    images: int = SAMPLE
    storage: str | None = None
    start_shares: Sequence[FloatArray] = ()
    scores: Mapping[str, Importance] | None = None
    curves: Mapping[str, CurveSource] = field(default_factory=dict)
    rules: Mapping[str, AllocationRule] = field(default_factory=lambda: ALLOCATION_RULES)
    curve_rules: Mapping[str, AllocationRule] = field(default_factory=lambda: CURVE_RULES)

    def __post_init__(self) -> None:
        if self.trials < 0:
            raise SecateurError(f"trials={self.trials}; pass 0 or more")
        if self.images < 1:
            raise SecateurError(f"images={self.images}; pass 1 or more")
        for name in ("scores", "rules"):
            if getattr(self, name) == {}:
                raise SecateurError(f"{name} is empty; pass at least one")
        if self.sampler is CmaEsSampler and not self.span.is_single:
            raise SecateurError(ONE_OBJECTIVE)

    @property
    def sampler_name(self) -> str:
        """The name of the sampler."""
        return GREEDY if isinstance(self.sampler, Greedy) else sampler_name(self.sampler)

    @property
    def extensions(self) -> str:
        """The names of scores, curves and rules that are not the defaults: they make another study."""
        default = {"scores": {}, "curves": {}, "rules": ALLOCATION_RULES, "curve_rules": CURVE_RULES}
        given = {name: getattr(self, name) for name in default}
        changed = {name: value for name, value in given.items() if (value or {}) != default[name]}
        return "".join(f", {name.replace('_', ' ')} {'+'.join(value)}" for name, value in changed.items())


def sampler_called(name: str) -> Sampler | Greedy:
    """The fine search of this name: one of ``SAMPLERS``, or greedy. Raises SecateurError where there is none."""
    if name == GREEDY:
        return Greedy()
    if name not in SAMPLERS:
        raise SecateurError(f"no sampler is called {name!r}; pass {', '.join(SAMPLERS)} or {GREEDY}")
    return SAMPLERS[name]
