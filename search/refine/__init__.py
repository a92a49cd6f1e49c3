"""The fine search: Optuna refines the widths under the budget. The only part that knows Optuna.

``samplers`` propose widths, ``study`` lets any number of processes share the trials, ``queue`` evaluates what the
coarse search proposes, ``fine`` goes on from the best of it.
"""

from .cmaes_sampler import ONE_OBJECTIVE
from .fine_search import GOLDEN, MOVED, WINDOW, refine
from .queue import evaluate_jointly
from .samplers import SAMPLERS, Sampler, sampler_name
from .study import StudyOptions, require_database

__all__ = [
    "GOLDEN",
    "MOVED",
    "ONE_OBJECTIVE",
    "SAMPLERS",
    "WINDOW",
    "Sampler",
    "StudyOptions",
    "evaluate_jointly",
    "refine",
    "require_database",
    "sampler_name",
]
