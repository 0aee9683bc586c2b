"""What one run of a block on the meta device said, kept on disk between processes.

A SQLite file in `$NAS_CACHE`, else `$XDG_CACHE_HOME/nas`, else `~/.cache/nas`, for any number of processes at once.
It is never trusted: rows carry a checksum, and a row or a file that is not as it was written is measured again. It is
never needed: where it cannot be opened or written, everything is measured.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import marshal
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.registry import Kind

Facts = tuple[int, ...]
NAME = "nodes.sqlite"
LARGEST = 512 * 2**20
"""Bytes from which the file is started afresh: rows of code that is gone stay in it until then."""

BATCH, SECONDS = 256, 0.5
"""Rows and time after which what is new is written: a process that is killed loses no more."""

TABLE = """CREATE TABLE IF NOT EXISTS facts
(key BLOB, fact TEXT, value BLOB, checksum BLOB, PRIMARY KEY (key, fact)) WITHOUT ROWID"""
BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
CLOSED_TO_US = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
}


def remembered(kind: Kind, identity: Any, fact: str, measure: Callable[[], Facts]) -> Facts:
    """Return what `measure` gives, from disk where the same code measured it before.

    `identity` is plain data: all that the measurement depends on beside the kind's code. `fact` says what was
    measured, and how many numbers that is must not change under one name.
    """
    from nas.code_version import code_version

    code = code_version(kind.make)
    store = None if code is None else node_cache(folder())
    if store is None:
        return measure()
    key = hashlib.sha256(marshal.dumps((code, kind.name, identity), 2)).digest()
    found = store.get(key, fact)
    if found is None:
        found = measure()
        store.put(key, fact, found)
    return found


def folder() -> Path | None:
    """Return the user's folder for the cache, None where there is no home."""
    if given := os.environ.get("NAS_CACHE"):
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nas"
    except RuntimeError:
        return None


@cache
def node_cache(where: Path | None) -> NodeCache | None:
    """Return this process's cache in a folder; what it has not written yet is written when the process ends."""
    if where is None:
        return None
    store = NodeCache(where)
    atexit.register(store.flush)
    return store


class NodeCache:
    """Numbers by key and fact in one SQLite file; opened when first asked, and again in a forked process."""

    def __init__(self, where: Path) -> None:
        self.path = where / NAME
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._owner = os.getpid()
        self._off = False
        self._pending: dict[tuple[bytes, str], Facts] = {}
        self._written = time.monotonic()

    def get(self, key: bytes, fact: str) -> Facts | None:
        """Return the numbers, None where there are none or where they are not as they were written."""
        with self._lock:
            if (key, fact) in self._pending:
                return self._pending[key, fact]
            query = "SELECT value, checksum FROM facts WHERE key = ? AND fact = ?"
            row = self._safely(lambda db: db.execute(query, (key, fact)).fetchone())
        return None if row is None else _read(key, fact, *row)

    def put(self, key: bytes, fact: str, value: Facts) -> None:
        """Keep the numbers; they reach the disk with the next batch."""
        with self._lock:
            self._pending[key, fact] = value
            late = time.monotonic() - self._written > SECONDS
            if late or len(self._pending) >= BATCH:
                self.flush()

    def flush(self) -> None:
        """Write what is new, in one transaction."""
        with self._lock:
            if self._pending and self._owner == os.getpid():
                rows = [_row(key, fact, value) for (key, fact), value in self._pending.items()]
                insert = "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)"
                self._safely(lambda db: db.executemany(insert, rows))
            self._pending.clear()
            self._written = time.monotonic()

    def _safely(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Return what `work` gives on the open file; None where it cannot be done.

        A file that cannot be read is removed and begun again.
        """
        for _ in range(2):
            try:
                db = self._open()
                if db is None:
                    return None
                with db:
                    return work(db)
            except sqlite3.DatabaseError as error:
                code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
                if code in BUSY:
                    return None
                self._close()
                self._off = self._is_closed_to_us(code) or not self._remove()
            except OSError:
                self._off = True
        self._off = True
        return None

    def _is_closed_to_us(self, code: int) -> bool:
        """Whether that is why an error came; SQLite also calls a file read-only of which the header is damaged."""
        writable = os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        return code in CLOSED_TO_US and not (code == sqlite3.SQLITE_READONLY and writable)

    def _open(self) -> sqlite3.Connection | None:
        if self._owner != os.getpid():  # a connection must not be used across a fork
            self._connection, self._owner = None, os.getpid()
            self._pending.clear()
        if self._connection is None and not self._off:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_file() and self.path.stat().st_size > LARGEST:
                self._remove()
            self._connection = _connect(self.path)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _remove(self) -> bool:
        """Remove the file and what belongs to it; False where that is not allowed."""
        try:
            for suffix in ("-wal", "-shm", ""):
                self.path.with_name(NAME + suffix).unlink(missing_ok=True)
        except OSError:
            return False
        return True


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")
        db.execute(TABLE)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _row(key: bytes, fact: str, value: Facts) -> tuple[bytes, str, bytes, bytes]:
    text = json.dumps(value).encode()
    return key, fact, text, _checksum(key, fact, text)


def _checksum(key: bytes, fact: str, text: bytes) -> bytes:
    return hashlib.blake2b(key + fact.encode() + b"\0" + text, digest_size=8).digest()


def _read(key: bytes, fact: str, text: Any, checksum: Any) -> Facts | None:
    """Return the numbers of a row whose checksum is right."""
    if not isinstance(text, bytes) or checksum != _checksum(key, fact, text):
        return None
    numbers: Sequence[int] = json.loads(text)
    return tuple(numbers)
