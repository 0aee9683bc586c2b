"""Executors: where trials run. A job goes out, events come back; nothing here knows strategies or how a trial is scored.

The driver is the only writer of the study: a worker returns metrics and never touches the record.
"""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, cast

from nas.errors import NasError, suggest
from nas.job import Epoch, Event, Job, Result, Stop

__all__ = ["EXECUTORS", "Epoch", "Event", "Executor", "Job", "Result", "Stop", "describe", "make", "run_job"]

Evaluate = Callable[[Job, Stop], Iterator[Mapping[str, Any]]]


class Executor(Protocol):
    """Runs jobs. Made without arguments; starts its workers on the first job and keeps them warm."""

    @property
    def capacity(self) -> int:
        """How many jobs may be out at once."""
        ...

    def submit(self, job: Job) -> None:
        """Hand out a job; never blocks for the length of a trial. Raises NasError when `capacity` jobs are out."""
        ...

    def poll(self, timeout: float) -> Iterator[Event]:
        """Yield what has happened; waits at most `timeout` seconds for the first event."""
        ...

    def stop_current(self) -> None:
        """Ask all running jobs to stop at their next step; each still ends with a Result ("stopped")."""
        ...

    def close(self) -> None:
        """End the workers, at once if one does not answer; may be called twice."""
        ...


EXECUTORS: dict[str, str] = {
    "local": "nas.executors.local:LocalExecutor",
    "in_process": "nas.executors.in_process:InProcessExecutor",
}


def make(name: str) -> Executor:
    """Return the executor called `name`; its file is imported only now."""
    if name not in EXECUTORS:
        raise NasError(f"no executor is called {name!r}; {suggest(name, EXECUTORS)}")
    module, _, kind = EXECUTORS[name].partition(":")
    return cast(Executor, getattr(importlib.import_module(module), kind)())


def run_job(job: Job, evaluate: Evaluate, stop: Stop, report: Callable[[Epoch], None]) -> Result:
    """Score one job in this process: the trial boundary, where every exception becomes part of the result.

    An evaluator asks `stop()` before each step and ends (by return or by exception) once it has answered True.
    """
    start = time.monotonic()
    yielded: list[Mapping[str, Any]] = []
    error: dict[str, str] | None = None
    try:
        for values in evaluate(job, stop):
            yielded.append(dict(values))
            report(Epoch(job.number, yielded[-1]))
    except Exception as exception:  # noqa: BLE001 - whatever a trial raises is its outcome
        error = describe(exception)
    seconds = time.monotonic() - start
    if stop.told:
        return Result(job.number, "stopped", {}, tuple(yielded), None, seconds)
    if error is not None or not yielded:
        error = error or {"type": "NasError", "text": f"{job.evaluator} yielded nothing", "traceback": ""}
        return Result(job.number, "failed", {}, tuple(yielded), error, seconds)
    return Result(job.number, "complete", yielded[-1], tuple(yielded[:-1]), None, seconds)


def describe(exception: BaseException) -> dict[str, str]:
    """Return type, text and traceback of an exception as plain text."""
    lines = traceback.format_exception(exception)
    return {"type": type(exception).__name__, "text": str(exception), "traceback": "".join(lines)}
