import numpy as np
import torch.nn.functional as F
from test_rules import Net, found


def test_a_gated_linear_unit_keeps_its_halves_equal() -> None:
    (group,) = found(Net(lambda x: F.glu(x, 1), 4)).groups
    stem, head = (next(m for m in group.members if m.tensor == f"{name}.weight") for name in ("stem", "head"))
    assert group.width == 4
    assert [stem.where(np.array([1])).tolist(), head.where(np.array([1])).tolist()] == [[1, 5], [1]]
