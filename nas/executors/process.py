"""One worker process, as the driver sees it: jobs go in on its stdin, events come out on its stdout."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from nas.executors.worker import FOR_THE_DRIVER

TAIL = 6000
"""Characters of a dead worker's stderr that go into the record: a native crash leaves its Python stack there."""
BOOT = "import sys; sys.path[:] = {path!r}; from {module} import main; main()"


class Gone:
    """The last message of every worker."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode


class Worker:
    """One process, with the thread that reads its events into `hear` and a file for its stderr.

    `environment` is added to ours, `module` has the `main` that it runs. Start it from a thread that lives as long as
    it should: the kernel ends it with that thread.
    """

    def __init__(
        self,
        hear: Callable[[Worker, Any], None],
        environment: Mapping[str, str],
        module: str = "nas.executors.worker",
    ) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self.process = _start(self.log, environment, module)
        self._hear = hear
        self._outbox: deque[Any] = deque()
        self._sending = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, message: Any) -> None:
        """Write a message; one sent by a signal handler in the middle of another waits for its end."""
        self._outbox.append(message)
        while self._outbox and not self._sending:
            self._sending = True
            try:
                data = pickle.dumps(self._outbox.popleft())
                assert self.process.stdin is not None
                self.process.stdin.write(data)
                self.process.stdin.flush()
            except (BrokenPipeError, IndexError):
                pass  # a worker that is gone says so by its last message
            finally:
                self._sending = False

    def tail(self) -> str:
        """Return the end of what the worker wrote to stderr."""
        end = self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, end - TAIL))
        return self.log.read().decode("utf-8", "replace")

    def dismiss(self) -> None:
        """Close its stdin, at which it exits."""
        with suppress(OSError):
            cast(BinaryIO, self.process.stdin).close()

    def end(self, patience: float) -> None:
        """Let it go, and kill it after `patience` seconds."""
        self.dismiss()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        self.process.kill()
        self.process.wait()
        self._reader.join()
        cast(BinaryIO, self.process.stdout).close()
        self.log.close()

    def _read(self) -> None:
        events = cast(BinaryIO, self.process.stdout)
        with suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                self._hear(self, pickle.load(events))
        self._hear(self, Gone(self.process.wait()))


def _start(log: BinaryIO, environment: Mapping[str, str], module: str) -> subprocess.Popen[bytes]:
    """Start a worker with our search path, which no Ctrl-C reaches: it inherits the blocked signals."""
    command = [sys.executable, "-c", BOOT.format(path=sys.path, module=module), str(os.getpid())]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_DRIVER)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **environment},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def cause(returncode: int, killed: int) -> str:
    """Say in words why a worker ended, where the kernel killed `killed` processes of the machine meanwhile."""
    if returncode >= 0:
        return f"the worker process ended with exit code {returncode}"
    name = signal.Signals(-returncode).name
    if killed > 0 and name == "SIGKILL":
        return "out of memory: the kernel killed the worker process (SIGKILL)"
    if name == "SIGKILL":
        return (
            "the worker process was killed (SIGKILL): by hand, or by the kernel for want of memory"
        )
    return f"the worker process crashed in native code ({name})"


def oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory since boot, 0 where it does not say."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
