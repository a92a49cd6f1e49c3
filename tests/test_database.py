"""Studies in a database: opened, resumed, refused."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from secateur.errors import SecateurError
from secateur.search.refine import database
from secateur.search.refine.database import (
    DatabaseAwayError,
    delete_database,
    driver,
    exclusive,
    is_damaged,
    open_study,
    persistently,
    require_database,
)


def test_a_study_is_resumed_with_its_objectives(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with open_study(url, "name", ["macs", "loss"]) as first:
        first.enqueue_trial({"x": 1})
    with open_study(url, "name", ["macs", "loss"]) as again:
        assert [trial.state for trial in again.trials] == [TrialState.WAITING]
        assert again.metric_names == ["macs", "loss"]
        assert {direction.name for direction in again.directions} == {"MINIMIZE"}


def test_a_database_file_is_written_ahead(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with open_study(f"sqlite:///{path}", "name", ["loss"]):
        pass
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "postgresql://nobody@127.0.0.1:1/none", "words"])
def test_a_database_that_is_not_there_is_reported_in_one_line(url: str) -> None:
    with (
        pytest.raises(SecateurError, match=r"no study can be kept at .*; pass --storage") as error,
        open_study(url, "name", ["loss"]),
    ):
        pass
    assert "\n" not in str(error.value)
    with pytest.raises(SecateurError, match="no study can be kept"):
        require_database(url)


def test_a_damaged_database_of_the_users_own_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.db"
    require_database(f"sqlite:///{path}")
    assert not is_damaged(path)
    path.write_bytes(path.read_bytes()[:4096] + bytes(8192))
    assert is_damaged(path)
    with pytest.raises(SecateurError, match=r"mine\.db is damaged .*; restore it from a copy or delete it"):
        require_database(f"sqlite:///{path}")
    delete_database(path)
    assert list(tmp_path.iterdir()) == []


def test_postgresql_is_reached_by_psycopg_3() -> None:
    assert driver("postgresql://me@host/name") == "postgresql+psycopg://me@host/name"
    assert driver("sqlite:///study.db") == "sqlite:///study.db"


def test_opening_a_study_leaves_optunas_verbosity_to_the_user(tmp_path: Path) -> None:
    before = optuna.logging.get_verbosity()
    with open_study(f"sqlite:///{tmp_path / 'study.db'}", "name", ["loss"]):
        assert optuna.logging.get_verbosity() == before


def test_work_is_begun_again_when_a_server_was_away_and_not_for_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_answers", lambda url: True)
    begun: list[int] = []

    def work() -> Iterator[int]:
        begun.append(len(begun))
        yield begun[-1]
        if len(begun) < 3:
            raise DatabaseAwayError("away")

    assert list(persistently("postgresql://here/name", work)) == [0, 1, 2]
    with pytest.raises(DatabaseAwayError):
        list(persistently(None, _away))
    monkeypatch.setattr(database, "_answers", lambda url: False)
    with pytest.raises(DatabaseAwayError):
        list(persistently("postgresql://here/name", _away))


def _away() -> Iterator[int]:
    yield 1
    raise DatabaseAwayError("away")


def test_a_server_that_does_not_answer_is_waited_for_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "AWAY", 0.3)
    monkeypatch.setattr(database, "PAUSE", 0.05)
    assert not database._answers("postgresql://nobody@127.0.0.1:1/none")
    assert [record.message for record in caplog.records] == [
        "waiting for the database at postgresql://nobody@127.0.0.1:1/none, which does not answer"
    ]
    assert database._answers("sqlite://")


@pytest.mark.parametrize("echo", [UnboundLocalError, AssertionError])
def test_what_optuna_makes_of_a_lost_connection_is_named_and_other_bugs_are_not(echo: type[Exception]) -> None:
    lost = echo("in the way")
    lost.__context__ = StorageInternalError("lost")
    with pytest.raises(SecateurError, match="cannot be read or written"), open_study(None, "name", ["loss"]):
        raise lost
    with pytest.raises(echo, match="mine"), open_study(None, "name", ["loss"]):
        raise echo("mine")


def test_one_process_at_a_time_is_inside(tmp_path: Path) -> None:
    url, inside = f"sqlite:///{tmp_path / 'study.db'}", list[int]()

    def enter(number: int) -> None:
        with exclusive(url):
            inside.append(number)
            time.sleep(0.02)
            assert inside == [number]
            inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(4)))
    for none in (None, "sqlite://", "sqlite:///:memory:"):
        with exclusive(none):
            pass
