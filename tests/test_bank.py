import json
from pathlib import Path

import numpy as np
import pytest
import torch
from banked import DENSE, HALF, TEACHERS, THIN, fill, noise, opened
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import SecateurError
from secateur.models.subnetwork import Subnetwork
from secateur.search.records import Interim
from secateur.transfer.bank.bank import MemoryBank, Teacher, choose_teachers, open_bank, teachers_by_loss

LOSSES = st.lists(st.floats(0, 10).map(lambda x: round(x, 3)), min_size=0, max_size=30)


# --- which subnetworks teach ---


def test_teachers_are_those_nearest_to_even_steps_of_loss() -> None:
    losses = np.array([0.0, 0.1, 0.15, 0.3, 0.38, 0.6, 0.82, 0.9, 1.0, 7.0])
    assert teachers_by_loss(losses, dense=0.0, winner=1.0) == [0, 2, 4, 5, 6]  # 0, 0.2, 0.4, 0.6, 0.8


def test_where_late_targets_have_run_out_of_neighbours_the_order_is_still_by_loss() -> None:
    losses = np.array([0.01, 0.6, 0.15, 0.1, 0.3, 1.0])
    assert [losses[i] for i in teachers_by_loss(losses, 0.01, 1.0)] == [0.01, 0.1, 0.15, 0.3, 0.6]


@given(LOSSES, st.floats(0, 3), st.floats(0.01, 7), st.integers(1, 8))
def test_teachers_lie_between_dense_and_winner_each_once_and_dense_first(
    others: list[float], dense: float, gap: float, count: int
) -> None:
    winner = dense + gap
    losses = np.array([*others, dense, winner])
    chosen = teachers_by_loss(losses, dense, winner, count)
    assert len(chosen) == len(set(chosen)) == min(count, int(((losses >= dense) & (losses < winner)).sum()))
    assert losses[chosen[0]] == dense
    assert list(losses[chosen]) == sorted(losses[chosen])
    assert (losses[chosen] < winner).all()


@given(st.integers(5, 60), st.floats(0, 3), st.floats(0.1, 5))
def test_teachers_of_an_even_pool_span_four_fifths_of_the_way(pool: int, dense: float, gap: float) -> None:
    losses = np.linspace(dense, dense + gap, 5 * pool + 1)
    chosen = losses[teachers_by_loss(losses, dense, dense + gap)]
    assert len(chosen) == 5
    assert chosen[-1] - chosen[0] >= 0.8 * gap * (1 - 1e-9)
    np.testing.assert_allclose(np.diff(chosen), gap / 5)


def test_the_dense_network_teaches_even_a_winner_that_is_better() -> None:
    losses = np.array([0.9, 1.0, 1.1, 0.8])
    assert teachers_by_loss(losses, dense=1.0, winner=0.8) == [1]
    assert teachers_by_loss(losses, dense=1.0, winner=1.0) == [1]


def candidate(subnetwork: Subnetwork, loss: float, macs: int) -> Interim:
    return Interim(subnetwork, "made up", loss, 0.5, 10, macs, 1)


def test_chosen_teachers_carry_their_loss_and_cost_and_leave_the_winner_out() -> None:
    pool = [candidate(THIN, 1.0, 100), candidate(HALF, 0.7, 200), candidate(DENSE, 0.5, 300)]
    assert choose_teachers(pool, DENSE, THIN) == [Teacher(DENSE, 0.5, 300), Teacher(HALF, 0.7, 200)]


@pytest.mark.parametrize("loss", [0.5, 0.4])
def test_a_bank_is_never_empty_and_never_taught_by_the_winner(loss: float) -> None:
    pool = [candidate(HALF, loss, 200), candidate(DENSE, 0.5, 300)]
    assert choose_teachers(pool, DENSE, HALF) == [Teacher(DENSE, 0.5, 300)]


# --- what they know ---


def test_logits_are_looked_up_by_position(tmp_path: Path) -> None:
    bank = opened(tmp_path)
    indices = torch.tensor([5, 0, 89, 5])
    found = bank.stored_logits(indices)
    assert (found.shape, found.dtype) == ((4, 3, 4), torch.float32)
    for row, i in enumerate(indices.tolist()):
        assert torch.equal(found[row], torch.stack([logits[i] for logits in bank.logits]).float())


def test_keys_are_the_best_teachers_embeddings_standardised_and_of_unit_length(tmp_path: Path) -> None:
    bank = opened(tmp_path)
    raw = bank.embeddings[0].double()
    alive = raw.std(0) > 1e-4
    standard = torch.where(alive, (raw - raw.mean(0)) / raw.std(0).clamp_min(1e-6), torch.zeros(()))
    torch.testing.assert_close(bank.keys().norm(dim=1), torch.ones(90))
    torch.testing.assert_close(bank.keys().double(), standard / standard.norm(dim=1, keepdim=True), atol=1e-3, rtol=0)


def test_keys_stay_finite_where_a_channel_never_varies(tmp_path: Path) -> None:
    embeddings = torch.zeros(1, 10, 3, dtype=torch.float16)
    embeddings[0, :, 0] = torch.arange(10)
    keys = MemoryBank(tmp_path, TEACHERS[:1], (torch.zeros(10, 4),), (embeddings[0],)).keys()
    assert keys.abs().tolist() == [[1, 0, 0]] * 10


# --- on disk ---


def test_a_bank_of_other_data_is_refused_and_not_mixed(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(SecateurError, match=r"of other data \(abc, not xyz\); give another --out"):
        open_bank(tmp_path, 90, "xyz")
    with pytest.raises(SecateurError, match=r"of other data \(abc, not xyz\); give another --out"):
        fill(tmp_path, noise(seed=1), data="xyz")
    assert json.loads((tmp_path / "bank.json").read_text())["data"] == "abc"


def test_a_bank_of_another_number_of_images_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(SecateurError, match="holds 90 images, the training data 91; delete it and run again"):
        open_bank(tmp_path, 91, "abc")


@pytest.mark.parametrize("left", [0, 5, 200, -1])
def test_a_truncated_teacher_is_refused(tmp_path: Path, left: int) -> None:
    fill(tmp_path)
    path = sorted(tmp_path.glob("teacher-*"))[1]
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(SecateurError, match=rf"{path.name} cannot be read .*; delete it and run again"):
        open_bank(tmp_path, 90, "abc")


def test_a_missing_teacher_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    next(tmp_path.glob("teacher-*")).unlink()
    with pytest.raises(SecateurError, match=r"cannot be read .* delete it and run again"):
        open_bank(tmp_path, 90, "abc")


@pytest.mark.parametrize("content", [None, "", '{"format": '])
def test_a_folder_without_a_whole_plan_is_no_bank(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "bank.json").write_text(content)
    with pytest.raises(SecateurError, match=r"no memory bank in .* run secateur search first"):
        open_bank(tmp_path, 90, "abc")
