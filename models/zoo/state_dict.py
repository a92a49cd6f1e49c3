"""The state dict of a network inside a checkpoint, wherever and under whatever names a trainer put it."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...errors import SecateurError

USUAL = {"", "state_dict", "model_state_dict", "model", "net", "network", "params", "weights"}
AVERAGED = {"ema", "swa", "averaged"}
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}  # torch's, around a module
DEEPEST = 4  # mappings in mappings that are looked into


@dataclass(frozen=True)
class StateDict:
    """Values by the network's own names; ``place``: the keys and the prefix under which the file has them."""

    place: str
    values: Mapping[str, object]
    found: int

    @property
    def averaged(self) -> bool:
        """Whether it is a moving average of the weights, by its place."""
        return not AVERAGED.isdisjoint(re.split(r"[^a-z]+", self.place.lower()))

    @property
    def usual(self) -> bool:
        """Whether its place is where trainers put the network that they train."""
        return USUAL.issuperset(self.place.split("."))


def state_dict_in(stored: object, names: Collection[str], key: str | None = None) -> StateDict | None:
    """What a checkpoint holds for a network with tensors of these ``names``; None where it holds no tensors by name.

    A moving average is taken only where ``key`` names its place, or there is nothing else. Where no state dict has
    all names it is the one that has most. Raises SecateurError where several are as good, or none is at ``key``.
    """
    every = list(_candidates(stored, names))
    if key is not None:
        every = [each for each in every if each.place == key or each.place.startswith(f"{key}.")]
        if not every:
            raise SecateurError(f"it holds no tensors under {key!r}")
    whole = [each for each in every if each.found == len(names)]
    return _chosen(whole) if whole else max(every, key=lambda each: (each.found, len(each.values)), default=None)


def _chosen(whole: Sequence[StateDict]) -> StateDict:
    """Of several state dicts that have all names of the network."""
    plain = [each for each in whole if not each.averaged] or whole
    usual = [each for each in plain if each.usual]
    left = usual if len(usual) == 1 else plain
    if len(left) > 1:
        places = ", ".join(repr(each.place) for each in left)
        raise SecateurError(f"it holds several networks that fit ({places}); name one: FILE:{left[0].place}")
    return left[0]


def _candidates(stored: object, names: Collection[str]) -> Iterator[StateDict]:
    for keys, mapping in _mappings(stored):
        values = _unwrapped(mapping, names)
        counts = _prefixes(values, names)
        most = max(counts.values(), default=0)
        for prefix in [prefix for prefix, count in counts.items() if count == most] or [""]:
            own = {name[len(prefix) :]: value for name, value in values.items() if name.startswith(prefix)}
            yield StateDict(".".join([*keys, *prefix.split(".")[:-1]]), own, most)


def _mappings(stored: object, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, object]]]:
    """Every mapping that holds tensors by name, with the keys on the way to it."""
    if not isinstance(stored, Mapping) or len(keys) > DEEPEST:
        return
    named = {name: value for name, value in stored.items() if isinstance(name, str)}
    if any(isinstance(value, Tensor) for value in named.values()):
        yield keys, named
    for name, value in named.items():
        yield from _mappings(value, (*keys, name))


def _unwrapped(mapping: Mapping[str, object], names: Collection[str]) -> dict[str, object]:
    """The same without the names of torch's wrappers (DataParallel, compile, FSDP) that the network itself lacks."""
    foreign = WRAPPERS - {part for name in names for part in name.split(".")}
    return {".".join(part for part in name.split(".") if part not in foreign): v for name, v in mapping.items()}


def _prefixes(values: Collection[str], names: Collection[str]) -> Counter[str]:
    """How many of the network's names each prefix stands before."""
    counts: Counter[str] = Counter()
    for name in values:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in names:
                counts["".join(f"{part}." for part in parts[:start])] += 1
    return counts
