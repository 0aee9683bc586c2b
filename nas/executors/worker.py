"""The worker process, started with the driver's process id. Jobs come in on stdin, events go out on stdout.

Messages are pickles, one after another. It goes when its driver goes: at the end of stdin, and on Linux by a signal of
the kernel even where native code never returns. Whatever a job prints goes to stderr.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import itertools
import os
import pickle
import queue
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from nas.executors import Epoch, Job, Result, Scorer, Stop, describe, run_job
from nas.registry import use_file

STOP = "stop"
FOR_THE_DRIVER = {signal.SIGINT, signal.SIGTERM}
"""Signals that a whole process group gets, where the driver decides what becomes of the job."""
PR_SET_PDEATHSIG = 1
OOM_SCORE = "800"
"""Out of 1000: where memory runs out the kernel takes the worker, and leaves the driver and its record alone."""


def main() -> None:
    """Run jobs until the driver is gone."""
    follow(int(sys.argv[1]))
    faulthandler.enable()
    os.environ.setdefault("OMP_NUM_THREADS", str(cpus()))
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # spinning makes a shared machine many times slower
    jobs, events = take_pipes()
    inbox: queue.SimpleQueue[Job] = queue.SimpleQueue()
    stopping = threading.Event()
    threading.Thread(target=_listen, args=(jobs, inbox, stopping), daemon=True).start()
    bench = _Bench(events, stopping)
    for number in itertools.count():
        _send(events, bench.run(inbox.get()))
        gc.collect()
        if number == 0:
            gc.freeze()  # what is imported stays: from now on only what jobs leave behind is looked at


def cpus() -> int:
    """Number of CPUs that this process may use: its affinity, cut by the control group's quota."""
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(allowed, int(quota) // int(period)))
    return allowed


def follow(driver: int) -> None:
    """Leave Ctrl-C and the like to the driver, which says when to stop, and die with the driver."""
    for number in FOR_THE_DRIVER:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_DRIVER)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")
    if os.name == "posix" and os.getppid() != driver:
        os._exit(1)


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return stdin and stdout for ourselves; a job finds an empty stdin, and stderr in place of stdout."""
    jobs, events = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(2, 1)
    os.close(empty)
    return jobs, events


def _listen(jobs: BinaryIO, inbox: queue.SimpleQueue[Job], stopping: threading.Event) -> None:
    """Take in jobs and requests to stop; end the process where the driver has closed its end."""
    with suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            message = pickle.load(jobs)
            if message == STOP:
                stopping.set()
            else:
                stopping.clear()
                inbox.put(message)
    os._exit(0)


class _Bench:
    """What stays warm between jobs: evaluators with their data, and the user's files, each read once."""

    def __init__(self, events: BinaryIO, stopping: threading.Event) -> None:
        self._events, self._stopping = events, stopping
        self._score = Scorer()
        self._used: set[str] = set()

    def run(self, job: Job) -> Result:
        """Return how the job ended, whatever it raised; its epochs go out on the way."""
        stop = Stop(self._stopping.is_set, job.seconds_left)
        try:
            self._use(job.plugins)
        except Exception as error:  # noqa: BLE001 - the trial boundary
            return Result(job.number, "failed", error=describe(error))
        result = run_job(job, self._score, stop, lambda epoch: _send(self._events, epoch))
        _release(job.device)
        return result

    def _use(self, plugins: tuple[str, ...]) -> None:
        for plugin in plugins:
            if plugin not in self._used:
                use_file(plugin)
                self._used.add(plugin)


def _release(device: str) -> None:
    """Give an accelerator's memory back between jobs."""
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch is not None:
        gc.collect()
        torch.cuda.empty_cache()


def _send(events: BinaryIO, event: Epoch | Result) -> None:
    pickle.dump(event, events)
    events.flush()
