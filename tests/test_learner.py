"""What the learners share: channels above a threshold, which groups are of which kind, a penalty beside a loss."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lessons import CLASSES, looked, pupil
from torch import Tensor, nn

from secateur.models.supernet import Supernet
from secateur.models.zoo.registry import constructor
from secateur.transfer.joint.learner import Penalised, channels_above, groups_made_by_ndim
from secateur.transfer.objectives.base import CrossEntropy

NET, EIGHTS = pupil(), Supernet.of(constructor("resnet20", 10)(), torch.zeros(1, 3, 32, 32), divisor=8, check=False)


@given(st.integers(0, 99), st.floats(0, 1), st.sampled_from([NET, EIGHTS]))
def test_all_above_the_threshold_stay_and_no_more_than_widths_ask_for(seed: int, share: float, net: Supernet) -> None:
    rng = np.random.default_rng(seed)
    scores = [rng.random(group.width) for group in net.groups]
    kept = channels_above(net, scores, share)
    for score, channels, least in zip(scores, kept.kept, net.space.min_widths, strict=True):
        wanted = {int(c) for c in np.flatnonzero(score > share)}
        assert wanted <= set(channels)
        assert len(channels) in (len(wanted), int(least)) or len(channels) % (8 if net is EIGHTS else 1) == 0
        assert score[list(channels)].min() >= max(np.delete(score, channels), default=0)


@pytest.mark.parametrize(("dims", "names"), [(range(2, 3), ["hidden"]), (range(3, 6), ["stem", "conv"])])
def test_groups_are_told_apart_by_the_layers_that_make_them(dims: range, names: list[str]) -> None:
    assert [NET.groups[g].name for g in groups_made_by_ndim(NET, dims)] == names


class Two:
    """A penalty of 2, with a buffer."""

    def __init__(self) -> None:
        self.module = nn.Module()
        self.module.register_buffer("count", torch.zeros(1))

    def __call__(self) -> Tensor:
        return torch.tensor(2.0)


def test_a_penalty_is_added_and_its_state_is_carried() -> None:
    objective, batch = Penalised(CrossEntropy(), Two()), looked(torch.randn(5, CLASSES))
    torch.testing.assert_close(objective(batch), CrossEntropy()(batch) + 2)
    assert (objective.views, objective.metrics()) == (1, {})
    assert list(objective.module.state_dict()) == ["penalty.count"]
