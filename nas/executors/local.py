"""Trials in worker processes that stay warm: what kills one is a result, and the next job gets a new one."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from functools import partial
from typing import Any

from nas.errors import NasError
from nas.executors import Event, Job, Pool
from nas.executors.bench import Bench
from nas.executors.process import Gone, Worker
from nas.executors.worker import cpus
from nas.gpus import share_of, visible


class LocalExecutor:
    """Runs each job in a process of its own machine: one at a time ("local"), or several ("processes").

    Out of memory by the kernel, a crash in native code and `sys.exit` end the worker: a Result "died" that says by
    what. Start it from a thread that lives as long as the search: the kernel ends the workers with that thread.
    """

    def __init__(self, pool: Pool | None = None) -> None:
        number, environments = _places(pool or Pool())
        self._inbox: queue.SimpleQueue[tuple[Bench, Worker, Event | Gone]] = queue.SimpleQueue()
        self._benches = [Bench(self._inbox, environments(i)) for i in range(number)]

    @property
    def capacity(self) -> int:
        """How many jobs may be out at once."""
        return len(self._benches)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that are running."""
        return [bench.worker.process.pid for bench in self._benches if bench.worker is not None]

    def submit(self, job: Job) -> None:
        """Hand the job to a free worker, starting one if need be. Raises NasError where none is free."""
        free = [bench for bench in self._benches if bench.job is None]
        if not free:
            out = ", ".join(str(bench.job.number) for bench in self._benches if bench.job)
            raise NasError(
                f"out already: trial {out}; this executor takes {self.capacity} at a time"
            )
        warm = (bench for bench in free if bench.worker is not None)
        next(warm, free[0]).take(job)

    def poll(self, timeout: float) -> Iterator[Event]:
        """Yield what has happened; waits at most `timeout` seconds for the first event."""
        wait = timeout
        while (heard := self._heard(wait)) is not None:
            wait = 0.0
            bench, worker, message = heard
            event = bench.hear(worker, message)
            if event is not None:
                yield event
        for bench in self._benches:
            if bench.is_late:
                yield bench.give_up()

    def stop_current(self) -> None:
        """Ask the running jobs to stop at their next step; may be called from a signal handler."""
        for bench in self._benches:
            bench.stop()

    def close(self) -> None:
        """End the workers; may be called twice."""
        for bench in self._benches:
            bench.dismiss()
        for bench in self._benches:
            bench.end(5.0)

    def _heard(self, timeout: float) -> tuple[Bench, Worker, Event | Gone] | None:
        try:
            return self._inbox.get(timeout=timeout) if timeout > 0 else self._inbox.get_nowait()
        except queue.Empty:
            return None


def _places(pool: Pool) -> tuple[int, Any]:
    """Return how many workers there are, and a function of a worker's number: what its environment has of its own."""
    if pool.executor == "local":
        return 1, lambda _: {}
    gpus = visible()
    number = pool.workers or _as_many_as_fit(pool, len(gpus))
    threads = max(1, int(pool.cpus_per_trial or cpus() / number))
    share = pool.gpus_per_trial
    if share is None and gpus:
        share = min(1.0, len(gpus) / number)
    return number, partial(_environment, threads=threads, gpus=gpus, share=share or 0.0)


def _as_many_as_fit(pool: Pool, gpus: int) -> int:
    """Return how many trials the processors and accelerators of this machine take at once."""
    by_cpus = int(cpus() / (pool.cpus_per_trial or 1.0))
    if pool.gpus_per_trial:
        return max(1, min(by_cpus, int(gpus / pool.gpus_per_trial)))
    return max(1, by_cpus)


def _environment(worker: int, *, threads: int, gpus: list[str], share: float) -> dict[str, str]:
    """Return the environment of a worker: its threads, and the accelerators that it may see."""
    own = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(threads)}
    if gpus and share:
        own["CUDA_VISIBLE_DEVICES"] = ",".join(share_of(gpus, worker, share))
    return own
