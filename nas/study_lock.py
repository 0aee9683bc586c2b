"""The lock that lets one driver at a time write a study, wherever the others run.

It belongs to the connection that writes: a server frees it when that connection ends, however the driver ends, so a
driver that has lost its lock can no longer write either.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from sqlalchemy import Connection, make_url, text

from nas.errors import StorageError

GHOST_S = 10.0
"""Seconds for a server to end a connection of ours that broke, whose lock it still keeps."""
GRACE_S = 2.0
"""Seconds for a server to notice that another driver is dead: whoever kills one may resume at once."""
NOTICE = (
    "SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
)
"""PostgreSQL: a machine that is gone without a word is noticed, and its lock freed, after a minute and a half."""
NOTICE_MYSQL = "SET SESSION wait_timeout = 600"
"""MySQL and MariaDB: the same after ten minutes; a driver writes every second."""


class Lock(Protocol):
    """The lock of one study."""

    def take(self, connection: Connection) -> bool:
        """Take it for a new connection, also where our own last one still has it; False where another driver has."""
        ...

    def release(self) -> None:
        """Let it go, as far as the end of the connection does not."""
        ...


def lock_of(url: str, study: str) -> Lock:
    """Return the lock of the study with this name in the database at `url`."""
    parsed = make_url(url)
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        return FileLock(Path(parsed.database or ""), study)
    return PostgresLock(study) if kind == "postgresql" else MysqlLock(f"{parsed.database}/{study}")


def ourselves(since: str) -> str:
    """Return what another driver is told of who has the lock."""
    return f"process {os.getpid()} on {socket.gethostname()} since {since}"


class FileLock:
    """A lock file beside a SQLite file, held by the system until this process ends."""

    def __init__(self, database: Path, study: str) -> None:
        self._path = database.with_name(f"{database.name}.{_digest(study)[:8]}.lock")
        self._file: IO[str] | None = None

    def take(self, connection: Connection) -> bool:  # noqa: ARG002 - it belongs to the process
        if self._file is not None:
            return True
        file = self._path.open("a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except OSError as error:
            file.close()
            where = f"{self._path}: this file system cannot lock files ({error.strerror})"
            raise StorageError(f"{where}; keep the study on another, or in PostgreSQL") from error
        self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class PostgresLock:
    """An advisory lock of the session."""

    def __init__(self, study: str) -> None:
        self._key = int(_digest(study)[:15], 16)
        self._own: tuple[Any, ...] | None = None

    def take(self, connection: Connection) -> bool:
        connection.execute(text(NOTICE))
        taken = _insist(connection, self._try, self._end_ghost)
        own = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        if taken:
            self._own = tuple(connection.execute(text(own)).one())
        connection.commit()
        return taken

    def release(self) -> None:
        self._own = None

    def _try(self, connection: Connection) -> bool:
        query = text("SELECT pg_try_advisory_lock(:key)")
        return bool(connection.execute(query, {"key": self._key}).scalar())

    def _end_ghost(self, connection: Connection) -> bool:
        """End our own last connection, where that is what keeps the lock."""
        query = (
            "SELECT a.pid, a.backend_start FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
            " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.datname = current_database()"
            " AND (l.classid::bigint << 32) | l.objid::bigint = :key"
        )
        holder = connection.execute(text(query), {"key": self._key}).one_or_none()
        if holder is None:
            return True
        if tuple(holder) != self._own:
            return False
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": holder[0]})
        return True


class MysqlLock:
    """A named lock of the session, of MySQL and MariaDB; its name holds for the whole server."""

    def __init__(self, study: str) -> None:
        self._name = f"nas-{_digest(study)[:40]}"
        self._own: tuple[int, int] | None = None

    def take(self, connection: Connection) -> bool:
        connection.execute(text(NOTICE_MYSQL))
        taken = _insist(connection, self._try, self._end_ghost)
        if taken:
            number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
            self._own = int(number), _uptime(connection)
        connection.commit()
        return taken

    def release(self) -> None:
        self._own = None

    def _try(self, connection: Connection) -> bool:
        query = text("SELECT GET_LOCK(:name, 0)")
        return connection.execute(query, {"name": self._name}).scalar() == 1

    def _end_ghost(self, connection: Connection) -> bool:
        """End our own last connection, where that is what keeps the lock."""
        query = text("SELECT IS_USED_LOCK(:name)")
        holder = connection.execute(query, {"name": self._name}).scalar()
        if holder is None:
            return True
        if self._own is None or (int(holder), True) != (
            self._own[0],
            self._same_server(connection),
        ):
            return False
        connection.exec_driver_sql(f"KILL {int(holder)}")
        return True

    def _same_server(self, connection: Connection) -> bool:
        """Return whether the server has not been started anew, which gives numbers of connections again."""
        return self._own is not None and abs(_uptime(connection) - self._own[1]) < 5


Ask = Callable[[Connection], bool]


def _insist(connection: Connection, take: Ask, end_ghost: Ask) -> bool:
    """Return whether the lock is ours in the end; ends only what `end_ghost` knows as our own."""
    start = time.monotonic()
    while not take(connection):
        patience = GHOST_S if end_ghost(connection) else GRACE_S
        if time.monotonic() > start + patience:
            return False
        time.sleep(0.1)
    return True


def _uptime(connection: Connection) -> int:
    """Return when the server was started, in seconds since 1970."""
    row = connection.execute(text("SHOW GLOBAL STATUS LIKE 'Uptime'")).one()
    return round(time.time() - int(row[1]))


def _digest(study: str) -> str:
    return hashlib.sha256(study.encode()).hexdigest()
