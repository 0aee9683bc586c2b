"""Executors: where trials run. A job goes out, events come back; nothing here knows strategies or how a trial is scored.

The driver is the only writer of the study: a worker returns metrics and never touches the record.
"""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from nas.errors import NasError, suggest

State = Literal["complete", "failed", "stopped", "died"]
Evaluate = Callable[[str, "Job", Callable[[], bool]], Iterator[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One architecture to score; picklable, and complete: a worker needs nothing else.

    `evaluator` is "module:function". `split` names the split to score on, None is the held-back part of the training
    split that `search_split(split_seed)` gives. `seconds_left` counts from the moment the worker receives the job;
    None is no deadline. `plugins` are the user's own Python files, imported once per worker before the first job.
    """

    number: int
    architecture: str
    seed: int
    evaluator: str = "nas.evaluators.short_training:evaluate"
    data: str = "street"
    split: str | None = None
    split_seed: int = 0
    size: tuple[int, int] = (128, 256)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    cache: Path = Path("cache")
    device: str = "cpu"
    folder: Path | None = None
    seconds_left: float | None = None
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Epoch:
    """Progress of the running job `number`: what its evaluator yielded last ({"epoch": 3, "loss": ..., ...})."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """How the job `number` ended.

    `metrics` is the last dict that the evaluator yielded ("complete" only), `epochs` all of them before it; `error` is
    {"type", "text", "traceback"} for "failed" and "died" (the worker process is gone: killed, out of memory, crash).
    """

    number: int
    state: State
    metrics: Mapping[str, Any] = field(default_factory=dict)
    epochs: tuple[Mapping[str, Any], ...] = ()
    error: Mapping[str, str] | None = None
    seconds: float = 0.0


Event = Epoch | Result


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
    return cast(Executor, load(EXECUTORS[name])())


def load(reference: str) -> Any:
    """Return the object that "module:name" says."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


class Stop:
    """Asked by the evaluator before each step; remembers whether it was told to stop."""

    def __init__(self, asked: Callable[[], bool], seconds_left: float | None = None) -> None:
        self._asked = asked
        self._end = None if seconds_left is None else time.monotonic() + seconds_left
        self.told = False

    def __call__(self) -> bool:
        """Return whether the job is to end now."""
        late = self._end is not None and time.monotonic() >= self._end
        self.told = self.told or late or self._asked()
        return self.told


def run_job(job: Job, stop: Stop, report: Callable[[Epoch], None]) -> Result:
    """Score one job in this process: the trial boundary, where every exception becomes part of the result.

    An evaluator asks `stop()` before each step and ends (by return or by exception) once it has answered True.
    """
    start = time.monotonic()
    yielded: list[Mapping[str, Any]] = []
    error: dict[str, str] | None = None
    try:
        evaluate = cast(Evaluate, load(job.evaluator))
        for values in evaluate(job.architecture, job, stop):
            yielded.append(dict(values))
            report(Epoch(job.number, yielded[-1]))
    except Exception as exception:
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
