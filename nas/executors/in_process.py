"""Trials in the driver's own process: for tests and for evaluators that cost nothing. A crash ends the search."""

from __future__ import annotations

from collections.abc import Iterator

from nas.errors import NasError
from nas.executors import Epoch, Event, Job, Pool, Scorer, Stop, run_job


class InProcessExecutor:
    """Runs the job inside `poll`: the driver waits for it. The user's own files are imported already."""

    capacity = 1

    def __init__(self, pool: Pool | None = None) -> None:  # noqa: ARG002 - there is nothing to choose
        self._job: Job | None = None
        self._stopping = False
        self._score = Scorer()

    def submit(self, job: Job) -> None:
        """Keep the job for the next `poll`."""
        if self._job is not None:
            raise NasError(
                f"out already: trial {self._job.number}; this executor takes 1 at a time"
            )
        self._job, self._stopping = job, False

    def poll(self, timeout: float) -> Iterator[Event]:  # noqa: ARG002
        """Run the job and yield its epochs and its result; the timeout has no meaning here."""
        if self._job is None:
            return
        epochs: list[Epoch] = []
        result = run_job(
            self._job, self._score, Stop(self._asked, self._job.seconds_left), epochs.append
        )
        self._job = None
        yield from epochs
        yield result

    def stop_current(self) -> None:
        """Ask the job to stop at its next step (from a signal handler, or before it has begun)."""
        self._stopping = True

    def close(self) -> None:
        """Forget the job."""
        self._job = None

    def _asked(self) -> bool:
        return self._stopping
