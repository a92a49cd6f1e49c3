"""The fine search: Optuna refines the widths under the budget. The only part that knows Optuna.

``samplers`` propose widths, ``study`` lets any number of processes share the trials, ``queue`` evaluates what the
coarse search proposes, ``fine`` goes on from the best of it.
"""

from .evolution import ONE_OBJECTIVE
from .fine import GOLDEN, MOVED, WINDOW, refine
from .queue import shared
from .samplers import SAMPLERS, Sampler, called
from .study import Options, require_database

__all__ = [
    "GOLDEN",
    "MOVED",
    "ONE_OBJECTIVE",
    "SAMPLERS",
    "WINDOW",
    "Options",
    "Sampler",
    "called",
    "refine",
    "require_database",
    "shared",
]
