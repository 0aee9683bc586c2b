"""The actor that Ray starts on a node, which needs nothing of ours there: our code arrives with it.

Ray gets this module by value, so it imports nothing but the standard library, and the rest once that is unpacked.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

SAME_PLACE = 5
"""Tries to make a folder that another process removes at the same moment."""


class Boot:
    """An actor for one trial at a time: it unpacks our code, and leaves the rest to `nas.executors.ray_node`."""

    def __init__(self, package: bytes, driver: str, settings: Mapping[str, Any]) -> None:
        """`driver` names the driver's folder on every node; nothing is raised, the first event tells what is wrong."""
        self._problem = ""
        self._outpost: Any = None
        try:
            self._open(package, driver, settings)
        except Exception as error:  # noqa: BLE001 - the driver raises it, with the node's name
            self._problem = f"{type(error).__name__}: {error}"

    def events(self) -> Iterator[list[Any]]:
        """Yield what happens, in lists; first of all ("hello", facts of this place, what is wrong or "")."""
        yield [("hello", _facts(), self._problem)]
        if self._outpost is not None:
            yield from self._outpost.events()

    def send(self, message: Any) -> None:
        """Take a message for the outpost."""
        if self._outpost is not None:
            self._outpost.send(message)

    def leave(self) -> None:
        """End the trial's process, and remove what lies on this node."""
        if self._outpost is None:
            return
        self._outpost.close()
        shutil.rmtree(self._own, ignore_errors=True)
        with suppress(OSError):  # another actor of this driver is at work here
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(self._home, ignore_errors=True)

    def _open(self, package: bytes, driver: str, settings: Mapping[str, Any]) -> None:
        import ray

        node = ray.get_runtime_context().get_node_id()
        self._home, self._lock = node_folder(f"{driver}-{node[:12]}")
        code = unpacked(package, self._home)
        self._own = Path(tempfile.mkdtemp(prefix="actor-", dir=self._home))
        sys.path.insert(0, str(code))
        from nas.executors.ray_node import Outpost

        self._outpost = Outpost(self._own, self._home / "cache", settings)


def _facts() -> dict[str, Any]:
    """Return which node this is, and which process."""
    import socket

    import ray

    context: Any = ray.get_runtime_context()
    util: Any = ray.util
    address = util.get_node_ip_address()
    host = socket.gethostname()
    return {"id": context.get_node_id(), "address": address, "host": host, "pid": os.getpid()}


def node_folder(name: str) -> tuple[Path, TextIO]:
    """Make a folder that this user alone can enter; return it with a lock on it, held as long as it is in use.

    Folders of other drivers that nobody holds any more are removed: their processes were killed. Raises RuntimeError
    where somebody else owns the place.
    """
    base = Path(tempfile.gettempdir()) / f"nas-node-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise RuntimeError(f"{base} should be a folder that only user {os.getuid()} can enter")
    _sweep(base)
    home = base / name
    for _ in range(SAME_PLACE):
        with suppress(FileNotFoundError):
            home.mkdir(exist_ok=True)
            lock = (home / "lock").open("a", encoding="ascii")
            fcntl.flock(lock, fcntl.LOCK_SH)
            if (home / "lock").stat().st_ino == os.fstat(lock.fileno()).st_ino:
                return home, lock
    raise RuntimeError(f"{home} cannot be made: something removes it")


def _sweep(base: Path) -> None:
    for left in base.iterdir():
        with suppress(OSError), (left / "lock").open("r", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)


def unpacked(package: bytes, home: Path) -> Path:
    """Return the folder with the package's code, unpacked once for all actors of a driver on a node."""
    code = home / f"code-{hashlib.sha256(package).hexdigest()[:16]}"
    if not code.is_dir():
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=home))
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            archive.extractall(draft)
        with suppress(OSError):  # another actor was quicker
            draft.rename(code)
        shutil.rmtree(draft, ignore_errors=True)
    return code
