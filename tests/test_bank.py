import json
from pathlib import Path

import pytest
import torch
from banked import TEACHERS, fill, noise, opened

from secateur.errors import SecateurError
from secateur.transfer.bank.bank import MemoryBank, open_bank
from secateur.transfer.bank.manifest import BankLocation


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
    with pytest.raises(SecateurError, match=r"of other data \(abc, not xyz\); pass a different --out"):
        open_bank(BankLocation(tmp_path, "xyz"), 90)
    with pytest.raises(SecateurError, match=r"of other data \(abc, not xyz\); pass a different --out"):
        fill(tmp_path, noise(seed=1), data="xyz")
    assert json.loads((tmp_path / "bank.json").read_text())["data"] == "abc"


def test_a_bank_of_another_number_of_images_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(SecateurError, match="holds 90 images, the training data 91; delete it and run again"):
        open_bank(BankLocation(tmp_path, "abc"), 91)


@pytest.mark.parametrize("left", [0, 5, 200, -1])
def test_a_truncated_teacher_is_refused(tmp_path: Path, left: int) -> None:
    fill(tmp_path)
    path = sorted(tmp_path.glob("teacher-*"))[1]
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(SecateurError, match=rf"{path.name} cannot be read .*; delete it and run again"):
        open_bank(BankLocation(tmp_path, "abc"), 90)


def test_a_missing_teacher_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    next(tmp_path.glob("teacher-*")).unlink()
    with pytest.raises(SecateurError, match=r"cannot be read .* delete it and run again"):
        open_bank(BankLocation(tmp_path, "abc"), 90)


@pytest.mark.parametrize("content", [None, "", '{"format": '])
def test_a_folder_without_a_whole_plan_is_no_bank(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "bank.json").write_text(content)
    with pytest.raises(SecateurError, match=r"no memory bank in .* run secateur search first"):
        open_bank(BankLocation(tmp_path, "abc"), 90)


def test_a_bank_says_what_it_holds_and_not_its_numbers(tmp_path: Path) -> None:
    bank = opened(tmp_path)
    assert repr(bank) == f"MemoryBank(teachers={len(bank.teachers)}, images={len(bank.logits[0])}, views=0)"
