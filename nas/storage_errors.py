"""What the errors of a database mean: it is away for a while, its disk is full, or somebody has to do something."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError

from nas.errors import StorageError
from nas.full_disk import LITTLE, is_full
from nas.storage_url import PASSWORD, shown

AWAY_SQLSTATES = {
    "57P01",  # the server is being shut down, by its administrator
    "57P02",  # the same, after a crash
    "57P03",  # it is starting up, or going down
    "25006",  # a standby, which becomes the primary
    "53300",  # too many connections
    "40001",
    "40P01",  # serialisation, deadlock
    "55P03",  # a lock cannot be had now
}
"""PostgreSQL, Appendix A; beside them all of class 08, connections."""
AWAY_CODES = {1040, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1205, 1213, 1290, 1836, 1927}
"""MySQL and MariaDB: too many connections, shutdown, broken connection, lock wait, deadlock, read only, killed."""
CLIENT_AWAY = {2002, 2003, 2006, 2013, 2055}
FULL_SQLSTATES, FULL_CODES = {"53100"}, {1021, 1114}
SQLITE_AWAY = ("locked", "busy")
SQLITE_NO_ROOM = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}
STARTING = ("is starting up", "is shutting down", "in recovery", "not yet accepting connections")
PASSWORDS = ("password", "Access denied", "authentication")
MISSING = ("does not exist", "Unknown database")
"""What PostgreSQL and MySQL say of connections that they refuse, which have no code in psycopg."""
DatabaseTrouble = (SQLAlchemyError, StorageInternalError)
"""What SQLAlchemy raises, and what Optuna makes of it."""


def cause(error: BaseException) -> BaseException:
    """Return the database driver's own error, where there is one behind `error`."""
    known = _of_sqlalchemy(error)
    return known.orig if isinstance(known, DBAPIError) and known.orig is not None else known


def _of_sqlalchemy(error: BaseException) -> BaseException:
    """Return what SQLAlchemy raised, where Optuna has wrapped it."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        return error.__cause__
    return error


def is_away(error: BaseException) -> bool:
    """Return whether the same thing may work in a moment: the server is gone, is starting, or is busy."""
    said: Any = cause(error)
    text, state, code = str(said), getattr(said, "sqlstate", None), _code(said)
    if code:
        return code in AWAY_CODES | CLIENT_AWAY
    if state is not None:
        return state in AWAY_SQLSTATES or state.startswith("08")
    if _is_sqlite(said):
        return any(word in text for word in SQLITE_AWAY)
    if _lost(error) or any(words in text for words in STARTING):
        return True
    refused = any(words in text for words in (*PASSWORDS, *MISSING, "pg_hba.conf"))
    return isinstance(_of_sqlalchemy(error), OperationalError) and not refused


def is_starting(error: BaseException) -> bool:
    """Return whether a server that answered for the first time will take connections in a moment."""
    said: Any = cause(error)
    return getattr(said, "sqlstate", None) == "57P03" or any(w in str(said) for w in STARTING)


def is_tables_race(error: BaseException) -> bool:
    """Return whether somebody else made Optuna's tables in the same moment."""
    twice = isinstance(_of_sqlalchemy(error), IntegrityError)
    return twice or "already exists" in str(cause(error))


def is_empty(error: BaseException) -> bool:
    """Return whether the database is there, and none of Optuna's tables in it."""
    said: Any = cause(error)
    no_table = _is_sqlite(said) and "no such table" in str(said)
    return no_table or getattr(said, "sqlstate", None) == "42P01" or _code(said) == 1146


def is_no_room(error: BaseException | None) -> bool:
    """Return whether SQLite cannot make the files beside its own that it needs, for want of space or of the right."""
    said: Any = None if error is None else cause(error)
    return getattr(said, "sqlite_errorcode", 0) & 0xFF in SQLITE_NO_ROOM


def brief(error: BaseException) -> str:
    """Return the first line of what the database said."""
    said = cause(error)
    text = str(said.args[1] if _code(said) and len(said.args) > 1 else said)
    return text.strip().partition("\n")[0] or type(said).__name__


def explained(error: BaseException, url: str) -> StorageError | OSError:
    """Return what to tell a person, an OSError where a SQLite file has no room; the password is in none of it."""
    said: Any = cause(error)
    text, where = str(said), f"the study's database {shown(url)}"
    if _is_sqlite(said) and (is_full(said) or (is_no_room(said) and _no_space(url))):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), shown(url).partition("///")[2])
    if getattr(said, "sqlstate", None) in FULL_SQLSTATES or _code(said) in FULL_CODES:
        return StorageError(f"{where}: its disk is full ({brief(error)}); make space there")
    if any(words in text for words in PASSWORDS):
        how = f"set {PASSWORD}, or give the URL with --storage again; for PostgreSQL ~/.pgpass will do"
        return StorageError(f"{where} does not let us in ({brief(error)}); {how}")
    if any(words in text for words in MISSING):
        return StorageError(f"{where} or its user is not there ({brief(error)}); make them first")
    if "permission denied" in text or "denied to user" in text or "readonly database" in text:
        return StorageError(
            f"{where}: its user may not write there ({brief(error)}); grant it that"
        )
    if isinstance(said, UnicodeError) or not is_away(error):
        return StorageError(f"{where}: {type(said).__name__}: {brief(error)}")
    return StorageError(f"{where} cannot be reached ({brief(error)}); is the server running?")


def _no_space(url: str) -> bool:
    folder = Path(make_url(url).database or "").parent
    return folder.is_dir() and shutil.disk_usage(folder).free < LITTLE


def _code(said: Any) -> int:
    """Return the number of a MySQL error, 0 where it has none."""
    of_mysql = type(said).__module__.startswith("pymysql") and said.args
    return said.args[0] if of_mysql and isinstance(said.args[0], int) else 0


def _is_sqlite(said: BaseException) -> bool:
    return type(said).__module__.startswith("sqlite3")


def _lost(error: BaseException) -> bool:
    known = _of_sqlalchemy(error)
    return isinstance(known, DBAPIError) and known.connection_invalidated
