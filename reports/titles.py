"""How networks are called in tables."""

import re

from ..models.costs.units import format_quantity

TITLES = {"teacher": "teacher", "dense": "dense", "pruned": "only pruned", "tuned": "fine-tuned"}
POINT = re.compile(r"(\d+)-([a-z-]+)-(\d+)-(\d+)(.*)")  # MACs, method, epochs, seed, what else was chosen


def title_of(name: str, untrained: bool) -> str:
    """The title of a row; a dense network that has no training is called so, and a point by what its folder says.

    >>> title_of("4420581-kd-3-0", False)
    '4.421M MACs, kd, 3 epochs'
    >>> title_of("4420581-ckt-10-1-lr=0.01", False)
    '4.421M MACs, ckt, 10 epochs, seed 1, lr=0.01'
    """
    if point := POINT.fullmatch(name):
        macs, method, epochs, seed, rest = point.groups()
        said = [f"{format_quantity(int(macs))} MACs", method, f"{epochs} epochs", f"seed {seed}" if int(seed) else ""]
        return ", ".join(filter(None, [*said, rest.strip("-")]))
    return "untrained" if name == "dense" and untrained else TITLES.get(name, name)
