"""Rules of operations that compute weights in one step: weight norm and fake quantisation."""

from typing import Any

import numpy as np
from torch import Tensor

from .atoms import Labels
from .ledger import Ledger
from .norm_rules import belongs
from .op_call import FAKE_QUANTISATION, Call, OpRule, aten

OBSERVED = aten._fused_moving_avg_obs_fq_helper


def weight_norm(ledger: Ledger, call: Call) -> list[Labels]:
    """A direction over its norm, times a length each; the norm is of the channels that stay."""
    direction, length, dim = (*call.args, 0)[:3]
    for each in ledger.labels(direction):
        if (along := int(np.argmax(each.shape))) != dim and each.size == each.shape[along]:
            ledger.reduce(0, along, each.reshape(-1))
    labels = ledger.meet([*ledger.labels(direction), *ledger.labels(length)], [])
    return [labels, ledger.labels(length)]


def fake_quantisation(ledger: Ledger, call: Call) -> list[Labels]:
    """Rounded to steps, of the whole tensor or of each channel; where it observes a range, it is of those that stay."""
    x: Tensor = call.args[0]
    observes = call.func.overloadpacket is OBSERVED
    vectors = [v for v in call.args[1:7] if isinstance(v, Tensor) and v.numel() > 1]
    axis = (call.args[10] if observes else call.args[3]) % x.ndim if vectors else None
    channels = ledger.along(x, axis) if axis is not None else None
    for vector in vectors:
        if channels is not None:
            belongs(ledger, channels, vector)
    if observes:
        for each in ledger.labels(x):
            dim = int(np.argmax(each.shape))
            if dim != axis and each.size == each.shape[dim]:
                ledger.reduce(0, dim, each.reshape(-1))
    return [ledger.labels(x) for _ in call.results]


COMPUTED_RULES: dict[Any, OpRule] = {
    aten._weight_norm_interface: weight_norm,
    **dict.fromkeys(FAKE_QUANTISATION, fake_quantisation),
}
