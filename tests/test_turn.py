import multiprocessing
import os
import signal
from pathlib import Path
from threading import Timer

import pytest

from secateur.errors import SecateurError
from secateur.rundir import turn
from secateur.rundir.turn import HOLDER, Turn


def hold(folder: Path, taken: "multiprocessing.synchronize.Event") -> None:
    with Turn(folder).taken():
        taken.set()
        signal.pause()


def test_a_process_that_waits_says_for_whom_and_a_dead_one_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "PATIENCE", 0.1)
    context, told = multiprocessing.get_context("spawn"), list[str]()
    taken = context.Event()
    other = context.Process(target=hold, args=(tmp_path, taken))
    other.start()
    assert taken.wait(60)
    assert other.pid is not None
    Timer(0.5, os.kill, (other.pid, signal.SIGKILL)).start()
    with Turn(tmp_path, lambda what, *_: told.append(what)).taken():
        assert len(told) == 1
        assert told[0].startswith(f"waiting for process {other.pid} on ")
        assert told[0].endswith(f", which works in {tmp_path}")
        assert f"process {os.getpid()} " in (tmp_path / HOLDER).read_text()
    other.join()


def test_the_same_process_takes_it_again(tmp_path: Path) -> None:
    mine = Turn(tmp_path)
    with mine.taken(), mine.taken():
        pass
    with mine.taken():
        pass


def test_a_damaged_name_is_another_process(tmp_path: Path) -> None:
    (tmp_path / HOLDER).write_bytes(b"\xff\xfe")
    assert Turn(tmp_path)._holder() == "another process"
    with Turn(tmp_path).taken():
        pass


def test_a_folder_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run.lock").mkdir()
    with pytest.raises(SecateurError, match=r"run\.lock cannot be written"), Turn(tmp_path).taken():
        pass
