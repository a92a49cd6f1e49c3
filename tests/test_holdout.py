"""A holdout split off the training samples."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from secateur.data.holdout import draw_holdout, hold_out, read_share
from secateur.errors import SecateurError


@given(st.lists(st.integers(2, 30), min_size=1, max_size=4), st.floats(0.01, 0.99))
def test_each_class_holds_out_the_same_share_and_no_sample_is_in_both(counts: list[int], share: float) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    train, held = (torch.tensor(part.indices, dtype=torch.int64) for part in hold_out([], labels, share))
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(len(labels)))
    taken = labels[held].bincount(minlength=len(counts)).tolist()
    assert taken == [max(1, round(share * count)) for count in counts]


@given(st.integers(2, 50), st.floats(0.01, 0.99))
def test_a_drawn_holdout_leaves_at_least_one_sample_on_either_side(count: int, share: float) -> None:
    whole = TensorDataset(torch.arange(count))
    train, held = (list(part.indices) for part in draw_holdout(whole, share))
    assert sorted(train + held) == list(range(count))
    assert train
    assert held
    assert held == list(draw_holdout(whole, share)[1].indices)


def test_a_text_is_a_share_or_a_name() -> None:
    assert read_share(" 12.5% ") == 0.125
    assert read_share("val") is read_share("10") is None
    with pytest.raises(SecateurError, match="a holdout of 150% of the training samples"):
        read_share("150%")


def test_one_sample_cannot_be_split() -> None:
    with pytest.raises(SecateurError, match=r"1 training sample\(s\); pass two or more"):
        draw_holdout([0])
