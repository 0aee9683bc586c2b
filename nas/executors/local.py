"""Trials in one worker process that stays warm: what kills it is a result, and the next job gets a new one."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from nas.errors import NasError
from nas.executors import Epoch, Event, Job, Result
from nas.executors.worker import FOR_THE_DRIVER, STOP

GRACE_S = 60.0
"""Seconds that a job has for the step it is in, once it should have stopped; then its worker is ended."""
TAIL = 6000
"""Characters of a dead worker's stderr that go into the record: a native crash leaves its Python stack there."""
BOOT = "import sys; sys.path[:] = {path!r}; from nas.executors.worker import main; main()"


class LocalExecutor:
    """Runs one job at a time in a process of its own, started with the first job.

    Out of memory by the kernel, a crash in native code and `sys.exit` end the worker: a Result "died" that says by
    what. Start it from a thread that lives as long as the search: the kernel ends the worker with that thread.
    """

    capacity = 1

    def __init__(self) -> None:
        self._worker: _Worker | None = None
        self._job: Job | None = None
        self._epochs: list[Mapping[str, Any]] = []
        self._started = 0.0
        self._give_up: float | None = None
        self._kills = 0

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None where none is running."""
        return None if self._worker is None else self._worker.process.pid

    def submit(self, job: Job) -> None:
        """Hand the job to the worker, starting one if need be. Raises NasError while another job is out."""
        if self._job is not None:
            raise NasError(
                f"trial {self._job.number} is still out; this executor takes one job at a time"
            )
        if self._worker is None or self._worker.process.poll() is not None:
            self._end_worker(0.0)
            self._worker = _Worker()
        self._job, self._epochs, self._started = job, [], time.monotonic()
        self._give_up = (
            None if job.seconds_left is None else self._started + job.seconds_left + GRACE_S
        )
        self._kills = _oom_kills()
        self._worker.send(job)

    def poll(self, timeout: float) -> Iterator[Event]:
        """Yield what has happened; waits at most `timeout` seconds for the first event."""
        wait = timeout
        while self._worker is not None and (message := self._worker.receive(wait)) is not None:
            wait = 0.0
            event = self._died(message) if isinstance(message, _Gone) else message
            if isinstance(event, Epoch):
                self._epochs.append(event.values)
            if event is not None:
                if isinstance(event, Result):
                    self._job = self._give_up = None
                yield event
        if self._job is not None and self._give_up is not None and time.monotonic() > self._give_up:
            yield self._given_up(self._job)

    def stop_current(self) -> None:
        """Ask the running job to stop at its next step; may be called from a signal handler."""
        if self._job is None or self._worker is None:
            return
        self._give_up = min(self._give_up or float("inf"), time.monotonic() + GRACE_S)
        self._worker.send(STOP)

    def close(self) -> None:
        """End the worker; may be called twice."""
        self._job = self._give_up = None
        self._end_worker(5.0)

    def _died(self, gone: _Gone) -> Result | None:
        """Return the result of the job that the worker took with it, if it had one."""
        tail = self._worker.tail() if self._worker else ""
        self._end_worker(0.0)
        if self._job is None:
            return None
        text = _cause(gone.returncode, _oom_kills() - self._kills)
        error = {"type": "WorkerDied", "text": text, "traceback": tail}
        return self._result("died", error)

    def _given_up(self, job: Job) -> Result:
        """End a worker that did not stop when it was asked to."""
        result = self._result("stopped", None)
        self._end_worker(0.0)
        self._job = self._give_up = None
        return Result(job.number, "stopped", epochs=result.epochs, seconds=result.seconds)

    def _result(self, state: str, error: Mapping[str, str] | None) -> Result:
        assert self._job is not None
        seconds = time.monotonic() - self._started
        return Result(self._job.number, cast(Any, state), {}, tuple(self._epochs), error, seconds)

    def _end_worker(self, patience: float) -> None:
        if self._worker is not None:
            self._worker.end(patience)
            self._worker = None


class _Gone:
    """The last message of every worker."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode


class _Worker:
    """One process, with the thread that reads its events and a file for its stderr."""

    def __init__(self) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self.process = _start(self.log)
        self._inbox: queue.SimpleQueue[Event | _Gone] = queue.SimpleQueue()
        self._outbox: deque[Job | str] = deque()
        self._sending = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, message: Job | str) -> None:
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

    def receive(self, timeout: float) -> Event | _Gone | None:
        """Return the next message, None after `timeout` seconds without one."""
        try:
            return self._inbox.get(timeout=timeout) if timeout > 0 else self._inbox.get_nowait()
        except queue.Empty:
            return None

    def tail(self) -> str:
        """Return the end of what the worker wrote to stderr."""
        end = self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, end - TAIL))
        return self.log.read().decode("utf-8", "replace")

    def end(self, patience: float) -> None:
        """Close its stdin, at which it exits; kill it after `patience` seconds."""
        with suppress(OSError):
            cast(BinaryIO, self.process.stdin).close()
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
                self._inbox.put(pickle.load(events))
        self._inbox.put(_Gone(self.process.wait()))


def _start(log: BinaryIO) -> subprocess.Popen[bytes]:
    """Start a worker with our search path, which no Ctrl-C reaches: it inherits the blocked signals."""
    command = [sys.executable, "-c", BOOT.format(path=sys.path), str(os.getpid())]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_DRIVER)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _cause(returncode: int, oom_kills: int) -> str:
    """Say in words why a worker ended."""
    if returncode >= 0:
        return f"the worker process ended with exit code {returncode}"
    name = signal.Signals(-returncode).name
    if oom_kills > 0 and name == "SIGKILL":
        return "out of memory: the kernel killed the worker process (SIGKILL)"
    if name == "SIGKILL":
        return (
            "the worker process was killed (SIGKILL): by hand, or by the kernel for want of memory"
        )
    return f"the worker process crashed in native code ({name})"


def _oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory since boot, 0 where it does not say."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
