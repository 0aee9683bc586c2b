"""The database of a study: opened for readers, and for the one driver that holds its lock and writes.

Everything that a driver writes goes through one connection, which has the lock. Where the server goes away, the driver
waits for it, takes the lock again and does again what was not confirmed, which it may find done.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from nas.errors import RunError, StorageError
from nas.storage_errors import (
    DatabaseTrouble,
    brief,
    explained,
    is_away,
    is_empty,
    is_no_room,
    is_starting,
    is_tables_race,
)
from nas.storage_url import shown, unchanging
from nas.study_lock import lock_of

logging.getLogger("psycopg").addHandler(logging.NullHandler())
"""It notes each broken connection in the middle of our progress view; we say it ourselves, once."""
T = TypeVar("T")
DRIVER = "driver"
"""The study's attribute that says who writes it."""
TIMEOUT = 60
"""Seconds to wait for another connection's write to a SQLite file."""
PATIENCE_S = 600.0
"""Seconds that a driver waits for a database that has gone away."""
PAUSES = (0.2, 5.0)
"""Seconds between two tries, first and longest."""
RACES = 8
"""Times that making Optuna's tables is tried, where others make them in the same moment."""
EXTRAS = {"psycopg": "postgres", "psycopg2": "postgres", "pymysql": "mysql"}
CONNECT: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": TIMEOUT},
    "postgresql": {
        "connect_timeout": 10,
        "keepalives_idle": 60,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
    },
    "mysql": {"connect_timeout": 10, "read_timeout": 120, "write_timeout": 120},
}
"""What connections are made with where the URL does not say it: a server that is gone is noticed in a minute or two."""


def open_storage(url: str, *, make_tables: bool = True) -> RDBStorage:
    """Return Optuna's storage at an SQLAlchemy URL; a SQLite file is opened with WAL, so that readers never wait.

    Raises StorageError where the database cannot be opened, OSError where the disk is full.
    """
    for attempt in range(RACES):
        try:
            return _open_storage(url, make_tables)
        except DatabaseTrouble as error:
            if not is_tables_race(error) or attempt == RACES - 1:
                raise explained(error, url) from error
            time.sleep(random.uniform(0.05, 0.1 * 2**attempt))
    raise AssertionError


def check(url: str) -> None:
    """Raise StorageError where nothing can be kept at `url` as things are; makes nothing there."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        folder = Path(parsed.database or "").parent
        if not os.access(folder, os.W_OK):
            raise StorageError(f"{url}: {folder} is no folder that we may write to; make it first")
    storage = existing_storage(url)
    if storage is not None:
        storage.engine.dispose()


def existing_storage(url: str) -> RDBStorage | None:
    """Return the storage at `url` for a reader, who makes nothing; None where no study was ever kept there."""
    parsed = sqlalchemy.make_url(url)
    file = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
    if file is not None and not file.exists():
        return None
    try:
        return open_storage(url, make_tables=False)
    except (StorageError, OSError) as error:
        if error.__cause__ is not None and is_empty(error.__cause__):
            return None
        if file is None or not is_no_room(error.__cause__) or _pending(file):
            raise
        return open_storage(unchanging(file), make_tables=False)


def _pending(file: Path) -> bool:
    """Return whether a SQLite file is not all there is: its last writes lie beside it."""
    wal = file.with_name(f"{file.name}-wal")
    return wal.exists() and wal.stat().st_size > 0


def _open_storage(url: str, make_tables: bool) -> RDBStorage:
    parsed = sqlalchemy.make_url(url)
    kind = parsed.get_backend_name().replace("mariadb", "mysql")
    given = {k: v for k, v in CONNECT[kind].items() if k not in parsed.query}
    try:
        storage = RDBStorage(
            url, engine_kwargs={"connect_args": given}, skip_table_creation=not make_tables
        )
    except ImportError as error:
        package = parsed.get_driver_name()
        extra = f"; pip install 'nas-segmentation[{EXTRAS[package]}]'" if package in EXTRAS else ""
        raise StorageError(f"{shown(url)} needs the package {package}{extra}") from error
    if kind == "sqlite" and make_tables:
        sqlalchemy.event.listen(storage.engine, "connect", _tune_sqlite)
        storage.engine.dispose()
    if kind == "mysql" and make_tables:
        _widen_mysql(storage.engine)
    return storage


def _tune_sqlite(connection: Any, _: Any) -> None:
    """Set what SQLite keeps per connection; a power cut may cost the last trials, a kill costs none."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _widen_mysql(engine: sqlalchemy.Engine) -> None:
    """Let an attribute of a trial have 16 MiB: MySQL's TEXT ends at 64 KiB, less than the rows of 300 epochs."""
    column = (
        "SELECT data_type FROM information_schema.columns WHERE table_schema = DATABASE()"
        " AND table_name = 'trial_user_attributes' AND column_name = 'value_json'"
    )
    with engine.begin() as connection:
        if connection.execute(text(column)).scalar() == "text":
            widen = "ALTER TABLE trial_user_attributes MODIFY value_json MEDIUMTEXT"
            connection.execute(text(widen))


class Database:
    """A study's database as its driver has it, who is alone in writing the study.

    Raises RunError where another driver has the study, StorageError where the database cannot be opened.
    """

    def __init__(
        self,
        url: str,
        study: str,
        *,
        say: Callable[[str], None] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._url = url
        self._study = study
        self._say = say or (lambda _: None)
        self._patience_s = patience_s
        self._lock = lock_of(url, study)
        self._connection: Connection | None = None
        self.storage = self._opened()
        try:
            self.patiently(lambda _: self._connected())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the study and of the database."""
        self._drop()
        self.storage.engine.dispose()
        self._lock.release()

    def write(self, work: Callable[[Session, bool], T]) -> T:
        """Return what `work` does in one transaction of the connection that has the lock.

        `work(session, again)` is called once more, with `again` set, where a try may or may not have been written.
        """

        def once(again: bool) -> T:
            with Session(self._connected()) as session, session.begin():
                return work(session, again)

        return self.patiently(once)

    def patiently(self, work: Callable[[bool], T]) -> T:
        """Return what `work(again)` gives; where the database goes away, wait for it and try again.

        Raises StorageError when it has not come back after `patience_s` seconds, or where waiting does not help;
        RunError where another driver has taken the study meanwhile.
        """
        start, pause = None, PAUSES[0]
        while True:
            try:
                done = work(start is not None)
            except DatabaseTrouble as error:
                self._drop()
                if not is_away(error):
                    raise explained(error, self._url) from error
                start = self._waited(start, error)
                time.sleep(pause)
                pause = min(2 * pause, PAUSES[1])
            else:
                if start is not None:
                    gone = time.monotonic() - start
                    self._say(f"the study's database is back, {gone:.0f} s after it was missed")
                return done

    def _waited(self, start: float | None, error: BaseException) -> float:
        """Return when the database was first missed; raises StorageError where that is too long ago."""
        if start is None:
            self._say(
                f"the study's database does not answer ({brief(error)}); trying again for up to"
                f" {self._patience_s / 60:.3g} min, what is in training goes on"
            )
            return time.monotonic()
        if time.monotonic() - start > self._patience_s:
            gone = f"has not answered for {self._patience_s / 60:.3g} min ({brief(error)})"
            raise StorageError(
                f"the study's database {shown(self._url)} {gone}; all trials that had ended before are in it:"
                " go on with --resume when it is back"
            ) from error
        return start

    def _opened(self) -> RDBStorage:
        """Open the storage for the first time; a server that is just starting is waited for, a wrong URL is not."""
        end = time.monotonic() + self._patience_s
        while True:
            try:
                return open_storage(self._url)
            except StorageError as error:
                if error.__cause__ is None or not is_starting(error.__cause__):
                    raise
                if time.monotonic() > end:
                    raise
                time.sleep(PAUSES[0])

    def _connected(self) -> Connection:
        """Return the connection that has the lock."""
        if self._connection is None:
            connection = self.storage.engine.connect()
            try:
                taken = self._lock.take(connection)
            except BaseException:
                connection.invalidate()
                raise
            if not taken:
                connection.close()
                raise RunError(self._refusal())
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        """Let go of a connection that may be broken, and of those that came with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*DatabaseTrouble):
                connection.invalidate()
                connection.close()
        self.storage.engine.dispose()

    def _refusal(self) -> str:
        query = text(
            "SELECT a.value_json FROM study_user_attributes a JOIN studies s ON s.study_id = a.study_id"
            " WHERE s.study_name = :study AND a.key = :key"
        )
        with self.storage.engine.connect() as connection:
            found = connection.execute(query, {"study": self._study, "key": DRIVER}).scalar()
        holder = str(found).strip('"') if found else "another driver"
        where = f"the study {self._study} in {shown(self._url)}"
        return f"{where} is being searched by {holder}; wait for it, or stop it first"
