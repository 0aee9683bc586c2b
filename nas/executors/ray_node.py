"""The node's side of the Ray executor: one worker process, whose folder is the driver's or a copy of it."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nas.executors import Event, Job, Note, Result, describe
from nas.executors.bench import Bench
from nas.executors.parcel import Marks, Sheet, contents, marks, unpack
from nas.executors.worker import STOP

BEAT_S = 5.0
"""Seconds after which an outpost that has nothing to say says that it is there."""


@dataclass(frozen=True, slots=True)
class Order:
    """A job with what it needs of the driver's disk.

    `sheets` are plug-ins and other files that it names, `files` what lies in its folder; None: the node sees it.
    """

    job: Job
    sheets: tuple[Sheet, ...] = ()
    files: Mapping[str, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A job that finds out whether this node can run what is coming; `token` is a file that the driver just made."""

    order: Order
    token: Path


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a check: whether the node sees the driver's folder, and the result of the job."""

    shared: bool
    result: Result


@dataclass(frozen=True, slots=True)
class Changed:
    """Files of a job's folder that were written or removed since the last time."""

    number: int
    files: Mapping[str, bytes] = field(default_factory=dict)
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Beat:
    """The outpost is there, and has nothing to say."""


Message = Event | Checked | Changed | Beat


class Outpost:
    """Runs jobs in one worker process on this node. All of it happens in a thread that lives as long as the actor.

    `own` is a folder for this outpost, `cache` one for decoded data that all outposts of the node use; both are used
    where the driver's cannot be seen. `settings` are the driver's working folder, the worker's environment, and the
    seconds of grace for a job that should have stopped.
    """

    def __init__(self, own: Path, cache: Path, settings: Mapping[str, Any]) -> None:
        self._own, self._cache = own, cache
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._bench = Bench(self._inbox, settings["environment"], settings["grace_s"])
        self._shared: bool | None = None
        self._copy: Path | None = None
        self._sent: Marks = {}
        with suppress(OSError):  # so that relative paths mean what they mean to the driver
            os.chdir(settings["folder"])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self, message: Order | Check | str) -> None:
        """Take an order, a check, or the word to stop."""
        self._inbox.put(message)

    def events(self) -> Iterator[list[Message]]:
        """Yield what happens, as many messages at a time as there are; ends when the outpost is closed."""
        while True:
            messages = [self._next(BEAT_S)]
            while not self._outbox.empty():
                messages.append(self._outbox.get_nowait())
            yield [message for message in messages if message is not None]
            if None in messages:
                return

    def close(self) -> None:
        """End the worker process."""
        self._inbox.put(None)
        self._thread.join(10.0)

    def _next(self, timeout: float) -> Message | None:
        try:
            return self._outbox.get(timeout=timeout)
        except queue.Empty:
            return Beat()

    def _run(self) -> None:
        while True:
            try:
                message = self._inbox.get(timeout=1.0)
            except queue.Empty:
                message = ()
            if message is None:
                self._bench.end(0.0)
                self._outbox.put(None)
                return
            self._take(message)
            if self._bench.is_late:
                self._tell(self._bench.give_up())

    def _take(self, message: Any) -> None:
        """Do what the driver asks, or pass on what the worker says."""
        if isinstance(message, Check):
            self._shared = _sees(message.token)
            self._begin(message.order)
        elif isinstance(message, Order):
            self._begin(message)
        elif message == STOP:
            self._bench.stop()
        elif message:
            _, worker, said = message
            event = self._bench.hear(worker, said)
            if event is not None:
                self._tell(event)

    def _begin(self, order: Order) -> None:
        """Hand a job to the worker; what cannot be written here is the job's failure."""
        try:
            self._bench.take(self._settled(order))
        except OSError as error:
            self._tell(Result(order.job.number, "failed", error=describe(error)))

    def _settled(self, order: Order) -> Job:
        """Return the job with paths of this node."""
        places = {sheet.path: sheet.place(self._own / "sheets") for sheet in order.sheets}
        job = replace(
            order.job,
            plugins=tuple(places.get(path, path) for path in order.job.plugins),
            given={
                k: places.get(v, v) if isinstance(v, str) else v for k, v in order.job.given.items()
            },
        )
        self._copy = None
        if order.files is None:
            return job
        self._copy = self._own / "job"
        shutil.rmtree(self._copy, ignore_errors=True)
        unpack(self._copy, order.files)
        self._sent = marks(self._copy)
        return replace(job, cache=self._cache, folder=self._copy if job.folder else None)

    def _tell(self, event: Event) -> None:
        """Pass on an event, and before it what changed in the job's folder meanwhile."""
        if self._shared is not None:
            if isinstance(event, Result):
                self._outbox.put(Checked(self._shared, event))
                self._shared = None
            return
        if self._copy is not None and not isinstance(event, Note):
            self._send_changes(self._copy, event.number)
        self._outbox.put(event)

    def _send_changes(self, folder: Path, number: int) -> None:
        """Send what was written or removed in the job's folder since the last time."""
        before, now = self._sent, marks(folder)
        files = contents(folder, (name for name, mark in now.items() if before.get(name) != mark))
        gone = tuple(name for name in before if name not in now)
        self._sent = now
        if files or gone:
            self._outbox.put(Changed(number, files, gone))


def _sees(token: Path) -> bool:
    """Return whether this node sees the driver's folder, and may write there."""
    try:
        return token.is_file() and os.access(token.parent, os.W_OK)
    except OSError:
        return False
