"""Where a study is kept: in memory, in SQLite (one machine) or in PostgreSQL (several)."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from ...errors import SecateurError, in_a_line
from .quiet import quiet
from .retries import heartbeat

LOCKED = 60  # seconds that SQLite waits for another process that writes
RACE = 0.5  # seconds until a second try, where two processes make the tables at once


@contextmanager
def open_study(storage: str | None, name: str, objectives: Sequence[str]) -> Iterator[optuna.Study]:
    """The study of this name, all its objectives minimised: new, or as it was left, or as others work on it.

    ``storage``: the URL of a database; None keeps the study in memory.
    """
    database = None
    try:
        with quiet():
            database = _database(storage) if storage else None
            study = optuna.create_study(
                storage=database,
                study_name=name,
                directions=[StudyDirection.MINIMIZE] * len(objectives),
                load_if_exists=True,
            )
            study.set_metric_names(list(objectives))
        yield study
    except (StorageInternalError, SQLAlchemyError, JSONDecodeError) as error:
        raise SecateurError(
            f"the study at {storage} cannot be read or written ({_cause(error)}); make room if the disk is full, "
            "else restore it from a copy; a run's study.db can be deleted, and is rebuilt from the records"
        ) from error
    finally:
        if database:
            _close(database)


def require_database(url: str) -> None:
    """Raise SecateurError where no study can be kept in this database, or its file is damaged."""
    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and is_damaged(path):
        raise SecateurError(f"{path} is damaged (SQLite's quick_check fails); restore it from a copy or delete it")
    with quiet():
        _close(_database(url))


def is_damaged(path: Path) -> bool:
    """Whether a file is no sound database of SQLite; one that is not there, or empty, is sound."""
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path, timeout=LOCKED)) as connection:
            return bool(connection.execute("PRAGMA quick_check").fetchone() != ("ok",))
    except sqlite3.DatabaseError:
        return True


def delete_database(path: Path) -> None:
    """Delete a database of SQLite, and the write-ahead log that belongs to it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def driver(url: str) -> str:
    """The URL as SQLAlchemy expects it for psycopg 3: people write postgresql://."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _database(url: str) -> RDBStorage:
    """The database, its tables made where it is new; of two processes that make them at once one may fail."""
    with suppress(SQLAlchemyError, ImportError):
        return _connected(url)
    time.sleep(RACE)
    try:
        return _connected(url)
    except (SQLAlchemyError, ImportError) as error:
        what = str(error).splitlines()[0]
        raise SecateurError(
            f"no study can be kept at {url} ({what}); pass --storage sqlite:///FILE or postgresql://..."
        ) from error


def _connected(url: str) -> RDBStorage:
    sqlite = url.startswith("sqlite")
    engine = {"connect_args": {"timeout": LOCKED}} if sqlite else {"pool_pre_ping": True}
    database = RDBStorage(driver(url), engine, **heartbeat())
    if sqlite:
        event.listen(database.engine, "connect", _write_ahead)
        database.engine.dispose()  # the connections that were made before
    return database


def _write_ahead(connection: Any, _: object) -> None:
    """Commit without a wait for the disk: Optuna commits every width of every trial.

    SQLite's write-ahead log keeps what a killed process committed; a power cut may take the last trials, never the
    rest (https://www.sqlite.org/wal.html).
    """
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _cause(error: BaseException) -> str:
    """The first cause of an error in the layers above the database, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return in_a_line(error)[:200]


def _close(database: RDBStorage) -> None:
    database.remove_session()
    database.engine.dispose()
