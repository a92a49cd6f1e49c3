"""Studies in a database: opened, resumed, refused."""

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from secateur.errors import SecateurError
from secateur.search.refine.database import delete_database, driver, is_damaged, open_study, require_database


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
