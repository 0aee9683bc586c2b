"""Starts the processes of a data-parallel training on this machine, and answers for them until they are gone."""

from __future__ import annotations

import pickle
import queue
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import nas.errors
from nas.errors import NasError, TrainingError
from nas.executors.process import Gone, Worker, cause, oom_kills
from nas.executors.worker import STOP
from nas.parallel.rank import Failed, Halted, Order, Told
from nas.registry import USED
from nas.train import Stopped

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
ASK_S = 0.1
"""Seconds between looks at `stop`."""
PATIENCE_S = 5.0
"""Seconds that the other ranks have to say why, after one of them is gone."""


def launch(
    function: str, *given: Any, number: int, stop: Callable[[], bool]
) -> Generator[Any, None, None]:
    """Run `function` ("module:name") as `number` ranks; yield what rank 0 tells, until all have ended.

    Each gets a share of this process's threads, and talks to the others by the loopback interface only. `given` is
    pickled. Closing the iterator ends them, and so does the end of this process. Raises Stopped where `stop` said so,
    the NasError that a rank has raised, and TrainingError where one died or raised anything else.
    """
    with tempfile.TemporaryDirectory(prefix="nas-ranks-") as folder:
        ranks = _Ranks(_orders(function, given, number, Path(folder) / "store"))
        try:
            yield from ranks.told(stop)
        finally:
            ranks.end()


def _orders(function: str, given: tuple[Any, ...], number: int, store: Path) -> list[Order]:
    try:
        data = pickle.dumps(given)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise NasError(
            f"what is to be trained cannot be sent to other processes: {error}"
        ) from error
    threads = max(1, torch.get_num_threads() // number)
    return [
        Order(rank, number, str(store), threads, tuple(USED), function, data)
        for rank in range(number)
    ]


class _Ranks:
    """The processes, and what they say."""

    def __init__(self, orders: list[Order]) -> None:
        self._inbox: queue.SimpleQueue[tuple[Worker, Any]] = queue.SimpleQueue()
        self._kills = oom_kills()
        self._workers: list[Worker] = []
        for order in orders:
            worker = Worker(
                lambda w, m: self._inbox.put((w, m)), _environment(order), __package__ + ".rank"
            )
            self._workers.append(worker)
            worker.send(order)

    def told(self, stop: Callable[[], bool]) -> Iterator[Any]:
        """Yield what rank 0 says; return or raise when all are gone."""
        here, halted, asked = len(self._workers), None, False
        while here:
            if not asked and stop():
                asked = True
                self._workers[0].send(STOP)
            worker, message = self._heard(ASK_S)
            match message:
                case Told():
                    yield message.what
                case Halted():
                    halted = message
                case Gone(returncode=0):
                    here -= 1
                case Failed() | Gone():
                    raise self._reason(worker, message)
        if halted is not None:
            raise Stopped(halted.epochs)

    def end(self) -> None:
        """End all ranks at once: where one is still there, the training is not to go on."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.end(0.0)

    def _heard(self, seconds: float) -> tuple[Worker | None, Any]:
        with suppress(queue.Empty):
            return self._inbox.get(timeout=seconds)
        return None, None

    def _reason(self, worker: Worker | None, message: Failed | Gone) -> NasError:
        """Return why the training cannot go on: what a rank raised, else that one died, else that one is missing."""
        heard = [(worker, message)]
        until, gone = time.monotonic() + PATIENCE_S, int(isinstance(message, Gone))
        while gone < len(self._workers) and not _is_reason(*heard[-1]) and time.monotonic() < until:
            worker, other = self._heard(ASK_S)
            gone += isinstance(other, Gone)
            if isinstance(other, Failed) or (isinstance(other, Gone) and other.returncode):
                heard.append((worker, other))
        best = next((pair for pair in heard if _is_reason(*pair)), heard[0])
        return self._error(*best)

    def _error(self, worker: Worker | None, message: Failed | Gone) -> NasError:
        if isinstance(message, Failed):
            return _raised(message)
        assert worker is not None
        rank = self._workers.index(worker)
        what = cause(message.returncode, oom_kills() - self._kills)
        error = TrainingError(
            f"rank {rank} of {len(self._workers)}: {what}; the last checkpoint is kept"
        )
        error.add_note(worker.tail())
        return error


def _is_reason(_: Worker | None, message: Failed | Gone) -> bool:
    """Say whether this is why the others failed: a rank that has raised something exits with 1."""
    if isinstance(message, Failed):
        return not message.lost
    return message.returncode not in {0, 1}


def _raised(failed: Failed) -> NasError:
    """Return what a rank has raised: an error of ours as it was, any other with its type."""
    kind = getattr(nas.errors, failed.error["type"], None)
    text = failed.error["text"]
    if isinstance(kind, type) and issubclass(kind, NasError):
        error: NasError = kind(text)
    else:
        error = TrainingError(f"rank {failed.rank}: {failed.error['type']}: {text}")
    error.add_note(failed.error["traceback"])
    return error


def _environment(order: Order) -> dict[str, str]:
    """Return what a rank's environment has beside ours."""
    return {
        "OMP_NUM_THREADS": str(order.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "LOCAL_RANK": str(order.rank),
        "GLOO_SOCKET_IFNAME": LOOPBACK,
        "NCCL_SOCKET_IFNAME": LOOPBACK,
    }
