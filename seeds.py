"""Seeds made of several numbers, so that no two streams of chance are alike."""

import numpy as np


def derive_seed(*streams: int) -> int:
    """One seed of the numbers, the same on every machine: NumPy's hash of them."""
    return int(np.random.SeedSequence(streams).generate_state(1)[0])
