"""Seeds made of several numbers, so that no two streams of chance are alike; and the streams that are global."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*streams: int) -> int:
    """One seed of the numbers, the same on every machine: NumPy's hash of them."""
    return int(np.random.SeedSequence(streams).generate_state(1)[0])


def derive_generator(seed: int, stream: int) -> torch.Generator:
    """A generator of its own for every (seed, stream): NumPy's hash mixes the two, while a sum would collide."""
    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def seed_streams(seed: int) -> None:
    """Let torch, NumPy and Python draw from this seed on."""
    for generator in _generators():
        generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # transforms use the global one


@contextmanager
def random_streams(seed: int | None = None) -> Iterator[None]:
    """Inside, torch, NumPy and Python draw from ``seed`` on, if there is one; after, as if nothing had been drawn."""
    generators = _generators()
    states = [generator.get_state() for generator in generators]
    ours, theirs = random.getstate(), np.random.get_state()  # noqa: NPY002  # forward and transforms use the global one
    if seed is not None:
        seed_streams(seed)
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        random.setstate(ours)
        np.random.set_state(theirs)  # noqa: NPY002


def _generators() -> list[torch.Generator]:
    on_gpus = torch.cuda.default_generators if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    return [torch.default_generator, *on_gpus]
