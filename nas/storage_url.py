"""Where a study lives: the URL of a database, and its password, which is kept apart and never written down."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from nas.errors import RunError, suggest

if TYPE_CHECKING:
    from sqlalchemy import URL

PASSWORD = "NAS_STORAGE_PASSWORD"
"""The environment variable that holds the password of a study's database, where its own ways are not used."""
DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
"""What a URL without a driver means: it must not depend on the version of SQLAlchemy."""
PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
SECRET = {"password", "passwd", "sslpassword"}
"""Options of a URL that would write a password down."""
FORMS = "postgresql://USER@HOST/DATABASE, mysql://USER@HOST/DATABASE or sqlite:////FOLDER/FILE.db"


@dataclass(frozen=True, slots=True)
class StorageUrl:
    """The URL of a database, `text` without the password; two are equal where their texts are."""

    text: str
    password: str = field(default="", repr=False, compare=False)

    @classmethod
    def of(cls, text: str) -> StorageUrl:
        """Read what a person gave; raises RunError for what is no URL of a database that keeps studies.

        A SQLite file becomes an absolute path. The password may be part of the URL; no error repeats it.
        """
        url = _parsed(text)
        kind = url.drivername
        name = kind.partition("+")[0]
        if name not in DRIVERS:
            raise RunError(f"no study can be kept in {name!r}; {suggest(name, DRIVERS)}; {FORMS}")
        if secret := SECRET & url.query.keys():
            raise RunError(
                f"the storage URL has a password as {min(secret)!r}: write USER:PASSWORD@HOST, or set {PASSWORD}"
            )
        if not url.database:
            raise RunError(f"the storage URL {masked(text)!r} names no database; expected {FORMS}")
        if name == "sqlite":
            if url.database == ":memory:":
                raise RunError("a study in memory is lost with its search; name a file")
            url = url.set(database=str(Path(url.database).expanduser().resolve()))
        url = url.set(drivername=DRIVERS.get(kind, kind))
        password = str(url.password or "")
        return cls(_without_password(url), password)

    @property
    def full(self) -> str:
        """The URL to connect with: the password is its own, or that of the environment; else the client's own ways."""
        url = _parsed(self.text)
        secret = self.password or os.environ.get(PASSWORD, "")
        if not secret or self.is_file:
            return self.text
        return url.set(password=secret).render_as_string(hide_password=False)

    @property
    def is_file(self) -> bool:
        """Whether the database is a SQLite file."""
        return self.text.startswith("sqlite:")

    @property
    def database(self) -> tuple[str, ...]:
        """What tells two databases apart: kind, host, port and name; not who connects, and how."""
        url = _parsed(self.text)
        kind = url.get_backend_name().replace("mariadb", "mysql")
        host = (url.host or str(url.query.get("host", "")) or "localhost").lower()
        port = url.port or PORTS.get(kind, 0)
        place = () if self.is_file else (host, str(port))
        return (kind, *place, str(url.database))


def sqlite_url(file: Path) -> str:
    """Return the URL of a SQLite file; one may hold "?" and "%", which a URL would take for something else."""
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(file.resolve())).render_as_string(hide_password=False)


def unchanging(file: Path) -> str:
    """Return the URL of a SQLite file that nobody writes: it is read without a lock, and without room on its disk."""
    from sqlalchemy import URL

    query = {"uri": "true", "immutable": "1"}
    url = URL.create("sqlite", database=f"file:{quote(str(file.resolve()))}", query=query)
    return url.render_as_string(hide_password=False)


def shown(url: str) -> str:
    """Return a URL as it may be printed: without its password."""
    return _without_password(_parsed(url))


def masked(text: str) -> str:
    """Return a text that may hold the URL of a database with "***" in place of its password."""
    return re.sub(r"(://[^:/@\s]*):.*@", r"\1:***@", text, flags=re.DOTALL)


def _without_password(url: URL) -> str:
    return url._replace(password=None).render_as_string(hide_password=False)


def _parsed(text: str) -> URL:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        raise RunError(f"{masked(text)!r} is no storage URL; expected {FORMS}") from None
