"""Names of channel groups picked by shell wildcards: ``conv1``, ``layer1.*``."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from typing import TypeVar

from ..errors import SecateurError

Value = TypeVar("Value")
SHOWN = 20  # names that an error lists


def matching(names: Sequence[str], patterns: Iterable[str]) -> list[str]:
    """The names that match one of the patterns, in their own order. Raises SecateurError on a pattern without a match.

    >>> matching(["conv1", "layer1.0", "layer1.1"], ["layer1.*"])
    ['layer1.0', 'layer1.1']
    """
    patterns = list(patterns)
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise SecateurError(
                f"no channel group is called {pattern!r}; the groups are {', '.join(list(names)[:SHOWN])}"
            )
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def value_for(name: str, by_pattern: Mapping[str, Value], default: Value) -> Value:
    """The value of the first pattern that matches the name, or the default.

    >>> value_for("layer1.0", {"layer1.*": 0.5, "*": 0.1}, 1.0)
    0.5
    """
    return next((value for pattern, value in by_pattern.items() if fnmatch(name, pattern)), default)
