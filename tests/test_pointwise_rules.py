from collections.abc import Callable

import numpy as np
import pytest
import torch.nn.functional as F
from test_reference import supernet
from test_rules import Net, found
from torch import Tensor


def test_a_gated_linear_unit_keeps_its_halves_equal() -> None:
    (group,) = found(Net(lambda x: F.glu(x, 1), 4)).groups
    stem, head = (next(m for m in group.members if m.tensor == f"{name}.weight") for name in ("stem", "head"))
    assert group.width == 4
    assert [stem.where(np.array([1])).tolist(), head.where(np.array([1])).tolist()] == [[1, 5], [1]]


@pytest.mark.parametrize("drop", [F.dropout2d, F.feature_alpha_dropout, F.dropout], ids=lambda each: each.__name__)
def test_dropout_that_evaluation_runs_too_freezes_nothing(drop: Callable[..., Tensor]) -> None:
    net = supernet(lambda x: drop(x, 0.5, training=True))
    assert [group.width for group in net.groups] == [6, 8]
