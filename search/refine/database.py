"""Where a study is kept: in memory, in SQLite (one machine) or in PostgreSQL (several)."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import Engine, NullPool, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from ...errors import SecateurError, in_a_line
from ...files import alone
from .quiet import quiet
from .retries import heartbeat

LOCKED = 60  # seconds that SQLite waits for another process that writes
RACES = 0.5, 1.0, 2.0  # seconds until another try, where several processes make the tables at once
AWAY, PAUSE = 600, 1.0  # seconds that a server may be away, as when it is restarted; and between two looks
TRIES = 20  # of the same work: how often a server may go away in one search
ADVISORY = 5_354_017_320_011  # the key of PostgreSQL's advisory lock
FAILURES = StorageInternalError, SQLAlchemyError, JSONDecodeError
ECHOES = AssertionError, UnboundLocalError  # what Optuna's optimize raises when it fails to say how a trial failed
Item = TypeVar("Item")


class DatabaseAwayError(SecateurError):
    """The server of a database does not answer, or has closed the connection."""


def persistently(storage: str | None, work: Callable[[], Iterator[Item]]) -> Iterator[Item]:
    """What ``work`` yields, begun again each time the server was away; ``work`` resumes what it had done.

    Raises SecateurError where the server stays away for ten minutes, or fails again and again.
    """
    for left in reversed(range(TRIES)):
        try:
            yield from work()
            return
        except DatabaseAwayError:  # noqa: PERF203  (tried again is what is meant)
            if not left or storage is None or not _answers(storage):
                raise


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
    except (*FAILURES, *ECHOES) as error:
        if (named := _named(error, storage)) is None:
            raise
        raise named from error
    finally:
        if database:
            _close(database)


@contextmanager
def exclusive(storage: str | None) -> Iterator[None]:
    """Inside, no other process that uses the same database is; a process that ends leaves it, however it ends."""
    kind = make_url(storage).get_backend_name() if storage else ""
    file = make_url(storage).database if storage and kind == "sqlite" else None
    if file and file != ":memory:":
        with alone(Path(f"{file}.lock")):
            yield
    elif storage and kind == "postgresql":
        with _engine(storage).connect() as connection:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY})"))
            yield
    else:
        yield


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
    for suffix in ("", "-wal", "-shm", ".lock"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def is_server(url: str) -> bool:
    """Whether a database is on a server, which may be away for a while."""
    return not url.startswith("sqlite")


def driver(url: str) -> str:
    """The URL as SQLAlchemy expects it for psycopg 3: people write postgresql://."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _database(url: str) -> RDBStorage:
    """The database, its tables made where it is new; of several processes that make them at once some may fail."""
    races = iter(RACES if is_server(url) else RACES[:1])
    while True:
        try:
            return _connected(url)
        except (SQLAlchemyError, ImportError) as error:  # noqa: PERF203  (tried again is what is meant)
            away = is_server(url) and isinstance(error, OperationalError)
            if away or (pause := next(races, None)) is None:
                what, kind = str(error).splitlines()[0], DatabaseAwayError if away else SecateurError
                room = "make room, or " if "disk is full" in what else ""
                raise kind(
                    f"no study can be kept at {url} ({what}); {room}pass --storage sqlite:///FILE or postgresql://..."
                ) from error
            time.sleep(pause)


def _connected(url: str) -> RDBStorage:
    sqlite = url.startswith("sqlite")
    engine = {"connect_args": {"timeout": LOCKED}} if sqlite else {"pool_pre_ping": True}
    database = _Storage(driver(url), engine, **heartbeat())
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


class _Storage(RDBStorage):
    """Optuna's, whose heartbeats outlast a server that is away for a while: else their thread would end."""

    def record_heartbeat(self, trial_id: int) -> None:
        """As ever, where that is possible."""
        with suppress(*FAILURES):
            super().record_heartbeat(trial_id)


def _answers(url: str) -> bool:
    """Whether a server answers, after a moment or within ten minutes."""
    said, end = False, time.monotonic() + AWAY
    while time.monotonic() < end:
        time.sleep(PAUSE)
        with suppress(SQLAlchemyError), _engine(url).connect() as connection:
            connection.execute(text("SELECT 1"))
            return True
        if not said:
            logging.getLogger("secateur").warning("waiting for the database at %s, which does not answer", url)
            said = True
    return False


def _engine(url: str) -> Engine:
    """Connections that are closed after use, beside those of Optuna."""
    return create_engine(driver(url), poolclass=NullPool)


def _named(error: BaseException, storage: str | None) -> SecateurError | None:
    """What is wrong with the database, in a line; None where the error is of something else."""
    causes = [*_causes(error)]
    if not any(isinstance(each, FAILURES) for each in causes):
        return None
    what = in_a_line(causes[-1])[:200]
    if storage and is_server(storage) and any(map(_says_away, causes)):
        return DatabaseAwayError(f"the database at {storage} does not answer ({what}); the same command resumes")
    return SecateurError(
        f"the study at {storage} cannot be read or written ({what}); make room if the disk is full, "
        "else restore it from a copy; a run's study.db can be deleted, and is rebuilt from the records"
    )


def _says_away(error: BaseException) -> bool:
    gone = isinstance(error, DBAPIError) and error.connection_invalidated
    return gone or isinstance(error, OperationalError | InterfaceError)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came of, the first cause last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _close(database: RDBStorage) -> None:
    database.remove_session()
    database.engine.dispose()
