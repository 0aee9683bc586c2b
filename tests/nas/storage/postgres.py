"""A PostgreSQL server for tests, started from the system's package; it belongs to an unprivileged user."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
USER, NAME = "nas", "nas"


class Postgres:
    """A server on a free port of this machine, stopped and started at will; it asks for no password."""

    password = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._run(
            "initdb",
            "-D",
            "data",
            "-A",
            "trust",
            "-U",
            USER,
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        )

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{NAME}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-w", "-t", "60", "-l", "log", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", "data", "-w", "-m", mode, "stop")

    def query(self, query: str) -> str:
        """Return what psql prints."""
        return self._run(
            "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-Atc", query, NAME
        )

    def reset(self) -> None:
        """Empty the database."""
        self.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return int(self.query(f"SELECT count(*) FROM {table}"))

    def tables(self) -> int:
        """Return how many tables there are."""
        query = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
        return int(self.query(query))

    def make(self) -> None:
        """Make the database."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, NAME)

    def _run(self, program: str, *arguments: str) -> str:
        with (self.folder / f"{program}.out").open("w+") as out:
            subprocess.run(
                [*_as_nobody(), str(BINARIES[-1] / program), *arguments],
                check=True,
                cwd=self.folder,
                env={**os.environ, "HOME": str(self.folder)},
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=120,
            )
            out.seek(0)
            return out.read().strip()


@contextmanager
def server() -> Iterator[Postgres]:
    """Yield a running server with an empty database; skips where PostgreSQL is not installed."""
    pytest.importorskip("psycopg", reason="needs the extra 'postgres'")
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="nas-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    try:
        made = Postgres(folder)
        made.start()
        try:
            made.make()
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _as_nobody() -> list[str]:
    """Return what starts a program as an unprivileged user: the server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
