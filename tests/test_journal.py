from base64 import b64encode
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from secateur.transfer.bank.journal import Journal

FIRST, SECOND = torch.tensor([0, 2]), torch.tensor([1, 3])


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.partial"
    save_file({"logits": torch.zeros(4, 3)}, path)
    return path


def stored(value: float = 1) -> dict[str, Tensor]:
    return {"logits": torch.full((4, 3), value), "classes": torch.arange(4)}


def test_what_was_added_is_known_when_it_is_opened_again(partial: Path) -> None:
    journal = Journal(partial)
    assert not journal.resumes
    journal.begin()
    journal.add(stored(), FIRST)
    again = Journal(partial)
    assert again.resumes
    assert again.intact(stored()).tolist() == [True, False, True, False]
    again.add(stored(), SECOND)
    assert Journal(partial).intact(stored()).all()


def test_a_batch_that_changed_is_not_known(partial: Path) -> None:
    journal = Journal(partial)
    journal.begin()
    journal.add(stored(), FIRST)
    changed = stored()
    changed["logits"][2, 1] = 0
    assert not Journal(partial).intact(changed).any()
    changed["logits"][2, 1], changed["logits"][3, 1] = 1, 0  # of the other batch
    assert Journal(partial).intact(changed)[FIRST].all()


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-1], lambda c: c + b"x", lambda c: c[:9] + b"?" + c[10:], lambda c: b""]
)
def test_a_file_whose_size_or_header_changed_is_begun_again(partial: Path, damage: object) -> None:
    Journal(partial).begin()
    partial.write_bytes(damage(partial.read_bytes()))  # type: ignore[operator]
    assert not Journal(partial).resumes


@pytest.mark.parametrize("content", [b"", b"garbage\n", b"\xff\xfe\n", b"\n\n"])
def test_a_damaged_journal_knows_nothing(partial: Path, content: bytes) -> None:
    Journal(partial).begin()
    partial.with_suffix(".journal").write_bytes(content)
    assert not Journal(partial).resumes


def test_a_line_that_a_kill_cut_short_is_not_known(partial: Path) -> None:
    journal = Journal(partial)
    journal.begin()
    journal.add(stored(), FIRST)
    path = partial.with_suffix(".journal")
    path.write_bytes(path.read_bytes()[:-5])
    again = Journal(partial)
    assert again.resumes
    assert not again.intact(stored()).any()


@pytest.mark.parametrize("line", [b"", b"garbage", b"0 AAAA", b"0 " + b64encode((1 << 40).to_bytes(8, "little"))])
def test_a_damaged_line_is_left_out(line: bytes, partial: Path) -> None:
    journal = Journal(partial)
    journal.begin()
    with partial.with_suffix(".journal").open("ab") as file:
        file.write(line + b"\n")
    journal.add(stored(), FIRST)
    assert Journal(partial).intact(stored()).tolist() == [True, False, True, False]


def test_nothing_is_left_behind(partial: Path) -> None:
    journal = Journal(partial)
    journal.begin()
    journal.end()
    assert [each.name for each in partial.parent.iterdir()] == ["teacher.partial"]
