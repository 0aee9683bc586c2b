"""A MariaDB server for tests, where the system has one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.nas.storage.postgres import free_port

NAME = "nas"
START_S = 60.0


class Mariadb:
    """A server on a free port of this machine, stopped and started at will."""

    password = "secret"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        how = [
            "--no-defaults",
            f"--datadir={folder}/datadir",
            "--auth-root-authentication-method=normal",
        ]
        subprocess.run(
            ["mariadb-install-db", *how, *_user()], check=True, capture_output=True, timeout=120
        )

    @property
    def url(self) -> str:
        return f"mysql://nas:{self.password}@127.0.0.1:{self.port}/{NAME}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        where = [f"--{name}={self.folder}/{name}" for name in ("datadir", "socket", "pid-file")]
        network = [f"--port={self.port}", "--bind-address=127.0.0.1"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["mariadbd", "--no-defaults", *_user(), *where, *network],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        end = time.monotonic() + START_S
        while not self._answers():
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def query(self, query: str) -> str:
        """Return what the client prints, asked as the server's own user."""
        done = subprocess.run(
            [
                "mariadb",
                "--no-defaults",
                "-N",
                f"--socket={self.folder}/socket",
                "-uroot",
                "-e",
                query,
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()

    def reset(self) -> None:
        """Empty the database."""
        self.query(f"DROP DATABASE IF EXISTS {NAME}; CREATE DATABASE {NAME}")

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return int(self.query(f"SELECT count(*) FROM {NAME}.{table}"))

    def tables(self) -> int:
        """Return how many tables there are."""
        query = f"SELECT count(*) FROM information_schema.tables WHERE table_schema = '{NAME}'"
        return int(self.query(query))

    def _answers(self) -> bool:
        try:
            return self.query("SELECT 1") == "1"
        except subprocess.CalledProcessError:
            return False


@contextmanager
def server() -> Iterator[Mariadb]:
    """Yield a running server with an empty database; skips where MariaDB is not installed."""
    pytest.importorskip("pymysql", reason="needs the extra 'mysql'")
    if shutil.which("mariadbd") is None or shutil.which("mariadb-install-db") is None:
        pytest.skip("MariaDB is not installed (apt-get install mariadb-server)")
    folder = Path(tempfile.mkdtemp(prefix="nas-my-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    try:
        made = Mariadb(folder)
        made.start()
        try:
            made.reset()
            made.query(
                f"CREATE USER nas@localhost IDENTIFIED BY '{Mariadb.password}'; GRANT ALL ON {NAME}.* TO nas@localhost"
            )
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> list[str]:
    return ["--user=nobody"] if os.geteuid() == 0 else []
