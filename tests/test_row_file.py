from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from secateur.transfer.bank.row_file import RowFile

IMAGES = 6


def rows(indices: Tensor, offset: float = 0.0) -> dict[str, Tensor]:
    values = indices[:, None] + torch.tensor([0.25, offset])
    return {"logits": values.half(), "classes": indices[:, None].short()}


def written(path: Path, *batches: list[int]) -> RowFile:
    file = RowFile(path, IMAGES)
    for batch in batches:
        file.write(torch.tensor(batch), rows(torch.tensor(batch)))
    return file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "teacher.safetensors"


def test_rows_are_missing_until_they_are_written_and_are_found_when_it_is_opened_again(path: Path) -> None:
    assert RowFile(path, IMAGES).missing(torch.arange(IMAGES)).all()
    written(path, [4, 1])
    again = RowFile(path, IMAGES)
    assert again.missing(torch.arange(IMAGES)).tolist() == [True, False, True, True, False, True]
    assert torch.equal(again.rows["logits"][[4, 1]], rows(torch.tensor([4, 1]))["logits"])
    assert not path.exists()


def test_a_file_without_missing_rows_takes_its_place_and_leaves_nothing_behind(path: Path) -> None:
    file = written(path, [0, 5], [3, 2, 1])
    file.end()
    assert not path.exists()
    file.write(torch.tensor([4]), rows(torch.tensor([4])))
    file.end()
    assert {each.name for each in path.parent.iterdir()} == {path.name, "rows.lock"}
    assert torch.equal(load_file(path)["logits"], rows(torch.arange(IMAGES))["logits"])
    whole = RowFile(path, IMAGES)
    assert not whole.missing(torch.arange(IMAGES)).any()
    whole.end()


def test_two_that_are_open_at_once_see_each_others_rows(path: Path) -> None:
    one = written(path, [0, 1])
    two = RowFile(path, IMAGES)
    two.write(torch.tensor([2]), rows(torch.tensor([2])))
    one.write(torch.tensor([5]), rows(torch.tensor([5])))
    for file in (one, two, RowFile(path, IMAGES)):
        assert file.missing(torch.arange(IMAGES)).tolist() == [False, False, False, True, True, False]


def test_two_that_begin_at_once_share_one_file(path: Path) -> None:
    one, two = RowFile(path, IMAGES), RowFile(path, IMAGES)
    one.write(torch.tensor([0]), rows(torch.tensor([0])))
    two.write(torch.tensor([1]), rows(torch.tensor([1])))
    assert not one.missing(torch.tensor([0, 1])).any()
    assert not RowFile(path, IMAGES).missing(torch.tensor([0, 1])).any()


def test_a_row_that_was_spoilt_is_missing_again_and_one_who_has_it_open_keeps_what_he_saw(path: Path) -> None:
    before = written(path, [0, 1], [2, 3])
    before.rows["logits"][2, 0] = 99
    after = RowFile(path, IMAGES)
    assert after.missing(torch.arange(IMAGES)).tolist() == [False, False, True, True, True, True]
    assert not before.missing(torch.arange(4)).any()
    after.write(torch.tensor([2, 3]), rows(torch.tensor([2, 3])))
    again = RowFile(path, IMAGES)
    assert torch.equal(again.rows["logits"][:4], rows(torch.arange(4))["logits"])
    assert not again.missing(torch.arange(4)).any()


def test_rows_that_no_line_speaks_for_are_missing(path: Path) -> None:
    file = written(path, [0, 1])
    file.rows["logits"][4] = 1  # a kill came before the line of the journal
    assert RowFile(path, IMAGES).missing(torch.tensor([0, 1, 4])).tolist() == [False, False, True]
