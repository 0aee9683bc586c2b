"""Executors: where trials run. A job goes out, events come back; nothing here knows strategies or how to score.

The driver is the only writer of the study: a worker returns metrics and never touches the record.
"""

from __future__ import annotations

import importlib
import json
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, cast

from nas.architecture import Architecture
from nas.errors import NasError, TrainingError, suggest
from nas.full_disk import TOLD, is_full
from nas.job import Epoch, Event, Job, Note, Result, Stop
from nas.pool import Pool

__all__ = [
    "EXECUTORS",
    "Epoch",
    "Event",
    "Executor",
    "Job",
    "Note",
    "Pool",
    "Result",
    "Scorer",
    "Stop",
    "describe",
    "make",
    "run_job",
]

Evaluate = Callable[[Job, Stop], Iterator[Mapping[str, Any]]]


class Executor(Protocol):
    """Runs jobs. Made of a `Pool`; starts its workers when there are jobs for them, and keeps them warm."""

    @property
    def capacity(self) -> int:
        """How many jobs may be out at once, as things are: fewer when a node is gone, 0 while there is none."""
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
    "processes": "nas.executors.local:LocalExecutor",
    "ray": "nas.executors.ray:RayExecutor",
    "in_process": "nas.executors.in_process:InProcessExecutor",
}


def make(pool: Pool) -> Executor:
    """Return the executor that a pool names; its file is imported only now."""
    check(pool.executor)
    module, _, kind = EXECUTORS[pool.executor].partition(":")
    return cast(Executor, getattr(importlib.import_module(module), kind)(pool))


def check(name: str) -> None:
    """Raise NasError with the closest name where no executor is called `name`."""
    if name not in EXECUTORS:
        raise NasError(f"no executor is called {name!r}; {suggest(name, EXECUTORS)}")


class Scorer:
    """Scores jobs with the evaluators that they name: one instance of each, which keeps its data warm."""

    def __init__(self) -> None:
        self._evaluators: dict[str, Any] = {}

    def __call__(self, job: Job, stop: Stop) -> Iterator[Mapping[str, Any]]:
        """Yield what the job's evaluator yields; raises NasError for a name that nobody registered."""
        if job.evaluator not in self._evaluators:
            find = importlib.import_module("nas.evaluators").find
            self._evaluators[job.evaluator] = find(job.evaluator)()
        architecture = Architecture(job.architecture)
        yield from self._evaluators[job.evaluator].evaluate(architecture, job, stop)


def run_job(job: Job, evaluate: Evaluate, stop: Stop, report: Callable[[Epoch], None]) -> Result:
    """Score one job in this process: the trial boundary, where every exception becomes part of the result.

    An evaluator asks `stop()` before each step and ends (by return or by exception) once it has answered True. What it
    yields becomes plain data; a metric that is not finite is a failure, not a score.
    """
    start = time.monotonic()
    yielded: list[Mapping[str, Any]] = []
    error: dict[str, str] | None = None
    try:
        for values in evaluate(job, stop):
            yielded.append(_plain(values))
            report(Epoch(job.number, yielded[-1]))
        if not stop.told:
            _check(job, yielded)
    except Exception as exception:  # noqa: BLE001 - whatever a trial raises is its outcome
        error = describe(exception)
    seconds = time.monotonic() - start
    if stop.told:
        return Result(job.number, "stopped", {}, tuple(yielded), None, seconds)
    if error is not None:
        return Result(job.number, "failed", {}, tuple(yielded), error, seconds)
    return Result(job.number, "complete", yielded[-1], tuple(yielded[:-1]), None, seconds)


def describe(exception: BaseException) -> dict[str, str]:
    """Return type, text and traceback of an exception as plain text; want of memory or disk is called by its name."""
    lines = traceback.format_exception(exception)
    text = str(exception)
    memory = isinstance(exception, MemoryError) or type(exception).__name__ == "OutOfMemoryError"
    if memory or "can't allocate memory" in text or "not enough memory" in text:
        text = f"out of memory: {text}" if text else "out of memory"
    elif is_full(exception):
        text = f"{TOLD}: {text}"
    return {"type": type(exception).__name__, "text": text, "traceback": "".join(lines)}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON makes of `values`: numbers of NumPy and PyTorch become floats. Raises TypeError."""
    plain: dict[str, Any] = json.loads(json.dumps(values, default=float))
    return plain


def _check(job: Job, yielded: list[Mapping[str, Any]]) -> None:
    """Raise TrainingError unless there are metrics and all of them are finite."""
    if not yielded:
        raise TrainingError(f"the evaluator {job.evaluator!r} ended without a metric")
    wrong = {k: v for k, v in yielded[-1].items() if isinstance(v, float) and not math.isfinite(v)}
    if wrong:
        raise TrainingError(f"metrics are not finite: {wrong}")
