import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from chains import plain

from secateur.data.dataset import Data
from secateur.errors import SecateurError
from secateur.pipeline.session import Session
from secateur.progress import silent
from secateur.stages.room import COPIES, REST, needed_bytes, require_room
from secateur.transfer.bank.fill import BankConfig


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def session(tmp_path: Path) -> Session:
    samples: Any = [(torch.zeros(3, 8, 8), number % 4) for number in range(40)]
    return Session(plain(), Data.of(samples, samples, samples), tmp_path, "float32", silent)


def test_the_room_of_a_run_is_that_of_its_networks_and_of_its_bank(session: Session) -> None:
    network = sum(4 * each.numel() for each in session.net.model.parameters())
    batch_norm = sum(each.numel() * each.element_size() for each in session.net.model.buffers())
    alone = needed_bytes(session, None)
    assert alone == COPIES * (network + batch_norm) + REST
    config = BankConfig(views=3, teachers=5)
    # 16-bit numbers of 40 images: 5 teachers' 4 logits of 4 views, and their 20 embeddings of the plain images
    assert needed_bytes(session, config) - alone == 2 * 40 * 5 * (4 * 4 + 20)


def test_what_is_missing_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 30_000_000))
    require_room(tmp_path / "new" / "run", 30_000_000)
    with pytest.raises(SecateurError, match=r"50 MB to .*run, and 30 MB are free there, 20 MB too few; make"):
        require_room(tmp_path / "new" / "run", 50_000_000)
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_start_left_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 30_000_000))
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank" / "teacher").write_bytes(bytes(2_000_000))
    require_room(tmp_path, 32_000_000)
    with pytest.raises(SecateurError, match="too few"):
        require_room(tmp_path, 33_000_000)
