"""A place for one worker process: the job that it has, when to give it up, and what its death means."""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Mapping
from typing import Any, cast

from nas.executors import Epoch, Event, Job, Result
from nas.executors.process import Gone, Worker, cause, oom_kills
from nas.executors.worker import STOP

GRACE_S = 60.0
"""Seconds that a job has for the step it is in, once it should have stopped; then its worker is ended."""


class Bench:
    """A place for one worker at a time, with the job that it has; `grace_s` other than `GRACE_S` if it is said."""

    def __init__(
        self,
        inbox: queue.SimpleQueue[Any],
        environment: Mapping[str, str],
        grace_s: float | None = None,
    ) -> None:
        self._inbox, self._environment = inbox, environment
        self._grace_s = grace_s
        self.worker: Worker | None = None
        self.job: Job | None = None
        self._epochs: list[Mapping[str, Any]] = []
        self._started = 0.0
        self._give_up = math.inf
        self._kills = 0

    @property
    def is_late(self) -> bool:
        """Whether its job should have stopped long ago."""
        return self.job is not None and time.monotonic() > self._give_up

    def take(self, job: Job) -> None:
        """Hand the job to the worker."""
        if self.worker is None or self.worker.process.poll() is not None:
            self.end(0.0)
            self.worker = Worker(self._tell, self._environment)
        self.job, self._epochs, self._started = job, [], time.monotonic()
        self._give_up = math.inf
        if job.seconds_left is not None:
            self._give_up = self._started + job.seconds_left + self._grace
        self._kills = oom_kills()
        self.worker.send(job)

    def hear(self, worker: Worker, message: Event | Gone) -> Event | None:
        """Return what a message means; nothing where it is the last one of a worker that is replaced already."""
        if worker is not self.worker:
            return None
        if isinstance(message, Gone):
            return self._died(message)
        if isinstance(message, Epoch):
            self._epochs.append(message.values)
        if isinstance(message, Result):
            self.job = None
        return message

    def stop(self) -> None:
        """Ask the job to stop."""
        if self.job is not None and self.worker is not None:
            self._give_up = min(self._give_up, time.monotonic() + self._grace)
            self.worker.send(STOP)

    def give_up(self) -> Result:
        """End a worker that did not stop when it was asked to."""
        result = self._result("stopped", None)
        self.end(0.0)
        return result

    def dismiss(self) -> None:
        """Forget the job, and let the worker go without waiting for it."""
        self.job = None
        if self.worker is not None:
            self.worker.dismiss()

    def end(self, patience: float) -> None:
        """End the worker; kill it after `patience` seconds."""
        if self.worker is not None:
            self.worker.end(patience)
            self.worker = None

    @property
    def _grace(self) -> float:
        return GRACE_S if self._grace_s is None else self._grace_s

    def _tell(self, worker: Worker, message: Event | Gone) -> None:
        self._inbox.put((self, worker, message))

    def _died(self, gone: Gone) -> Result | None:
        """Return the result of the job that the worker took with it, if it had one."""
        assert self.worker is not None
        tail = self.worker.tail()
        self.end(0.0)
        if self.job is None:
            return None
        text = cause(gone.returncode, oom_kills() - self._kills)
        return self._result("died", {"type": "WorkerDied", "text": text, "traceback": tail})

    def _result(self, state: str, error: Mapping[str, str] | None) -> Result:
        assert self.job is not None
        number, self.job = self.job.number, None
        seconds = time.monotonic() - self._started
        return Result(number, cast(Any, state), {}, tuple(self._epochs), error, seconds)
