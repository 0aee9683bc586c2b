"""Starts Ray on this machine, or joins a cluster: few resources, silent, with a token, nothing left behind.

Ray runs what anybody sends who reaches its ports, and it listens on all interfaces, also on one machine. So a Ray that
is started here wants a token, which only this user's processes can read.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from nas.errors import NasError

OBJECT_STORE = 200 * 2**20
"""Bytes for objects in transit between processes; trainings read their images from the disk."""
HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 2,
}
"""So that a dead node is noticed within seconds; by default it takes 14 s, and 64 s where it hangs."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "1"}
PREFIX = "nas-ray-"
"""How the folders of a Ray that was started here begin."""
LONGEST = 300
"""Characters of Ray's own words in an error."""
INSTALL = "pip install 'nas-segmentation[ray]'"


@dataclass
class RaySession:
    """A connection to Ray; `close` ends it, and the Ray that was started for it. May be closed twice."""

    own: bool
    folder: Path | None = None
    before: Mapping[str, str | None] = field(default_factory=dict)
    lock: TextIO | None = None

    def close(self) -> None:
        """Disconnect; end what was started here, and put the environment back."""
        if self.own:
            import ray

            ray.shutdown()
            _hold_back(False)
        self.own = False
        _restore(self.before)
        if self.folder is not None:
            _read_token_again()
            _remove(self.folder)
        if self.lock is not None:
            self.lock.close()

    def __enter__(self) -> RaySession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def start(address: str | None = None, *, cpus: float = 1, gpus: float = 0) -> RaySession:
    """Join the cluster at `address` ("auto": the one of this machine), or start a Ray with so many CPUs and GPUs.

    A Ray to which this process is connected already is used as it is, and left running. Raises NasError where
    Ray is not installed, or where there is no cluster at the address.
    """
    ray = _installed()
    if ray.is_initialized():
        return RaySession(own=False)
    return _started(ray, cpus, gpus) if address is None else _joined(ray, address)


def _installed() -> Any:
    """Return the module `ray`; raises NasError naming what to install."""
    try:
        import ray
    except ImportError as error:
        raise NasError(f"Ray is not installed ({error}); install it with\n  {INSTALL}") from None
    return ray


def _started(ray: Any, cpus: float, gpus: float) -> RaySession:
    """Start a Ray whose files and token lie in a folder that only this user can enter."""
    folder, lock = _own_folder()
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), encoding="ascii")
    wanted = {**QUIET, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    session = RaySession(own=True, folder=folder, before=_set(wanted), lock=lock)
    _read_token_again()
    try:
        with _own_handlers():
            ray.init(
                address="local",
                num_cpus=max(1, int(-(-cpus // 1))),
                num_gpus=int(-(-gpus // 1)),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(folder),
                _system_config=HEALTH,
            )
    except BaseException:
        session.close()
        raise
    _hold_back(True)
    return session


def _own_folder() -> tuple[Path, TextIO]:
    """Make a folder for one Ray, with a lock that is held as long as we live; remove those of processes that do not."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (left / "lock").open(encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    held = (folder / "lock").open("a", encoding="ascii")
    fcntl.flock(held, fcntl.LOCK_SH)
    return folder, held


def _hold_back(wanted: bool) -> None:
    """Keep Ray from what it does unasked, or let it do so again.

    It prints what happens on the nodes, which we say in lines of our own; and a thread that asks for something after
    the end would start another Ray. There are no options for either.
    """
    worker: Any = importlib.import_module("ray._private.worker")
    hook: Any = importlib.import_module("ray._private.auto_init_hook")
    worker._worker_logs_enabled = not wanted  # noqa: SLF001 - its debugger does the same
    hook.enable_auto_connect = not wanted


def _joined(ray: Any, address: str) -> RaySession:
    """Connect to a cluster that somebody else started; raises NasError where there is none."""
    _check_port(address)
    session = RaySession(own=True, before=_set(QUIET))
    _read_token_again()
    try:
        with _own_handlers():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        session.close()
        raise _no_cluster(address, " ".join(str(error).split())[:LONGEST]) from error
    _hold_back(True)
    return session


def _check_port(address: str) -> None:
    """Raise NasError where nobody listens at "host:port"; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise _no_cluster(address, error.strerror or str(error)) from None


def _no_cluster(address: str, reason: str) -> NasError:
    return NasError(
        f"no Ray cluster can be joined at {address!r} ({reason}); start one with `ray start --head`, or leave the"
        " address out. Where the cluster wants a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
    )


def _set(wanted: Mapping[str, str]) -> dict[str, str | None]:
    """Set environment variables; return what they were before."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    return before


def _restore(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _read_token_again() -> None:
    """Make Ray read its environment anew: it does so once, when it is imported or first used."""
    raylet: Any = importlib.import_module("ray._raylet")  # has no types
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


def _remove(folder: Path) -> None:
    """Remove a folder into which processes that are about to end may write a last line."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


@contextlib.contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep the handlers of signals that this process has set: Ray sets its own for SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before not in {signal.SIG_DFL, None}:
        with contextlib.suppress(ValueError):  # another thread than the main one
            signal.signal(signal.SIGTERM, before)
