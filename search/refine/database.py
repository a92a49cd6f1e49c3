"""Where a study is kept: in memory, in SQLite (one machine) or in PostgreSQL (several)."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from ...errors import SecateurError
from .quiet import quiet
from .retries import heartbeat

LOCKED = 60  # seconds that SQLite waits for another process that writes
RACE = 0.5  # seconds until a second try, where two processes make the tables at once


@contextmanager
def open_study(storage: str | None, name: str, objectives: Sequence[str]) -> Iterator[optuna.Study]:
    """The study of this name, all its objectives minimised: new, or as it was left, or as others work on it.

    ``storage``: the URL of a database; None keeps the study in memory.
    """
    with quiet():
        database = _database(storage) if storage else None
        study = optuna.create_study(
            storage=database,
            study_name=name,
            directions=[StudyDirection.MINIMIZE] * len(objectives),
            load_if_exists=True,
        )
        study.set_metric_names(list(objectives))
    try:
        yield study
    finally:
        if database:
            _close(database)


def require_database(url: str) -> None:
    """Raise SecateurError where no study can be kept in this database."""
    with quiet():
        _close(_database(url))


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


def _close(database: RDBStorage) -> None:
    database.remove_session()
    database.engine.dispose()
