"""One process of a data-parallel training that this machine's `launch` has started."""

from __future__ import annotations

import faulthandler
import importlib
import os
import pickle
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from nas.errors import NasError
from nas.executors import describe
from nas.executors.worker import STOP, follow, take_pipes
from nas.registry import load, use_file

Function = Callable[..., None]
"""(ranks, stop, tell, *given): what each rank runs; `tell` sends plain data to who launched it, from rank 0 only."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a rank is to do: `function` is "module:name"; `given` is pickled, and read when `plugins` are imported."""

    rank: int
    number: int
    store: str
    threads: int
    plugins: tuple[str, ...]
    function: str
    given: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """Something that rank 0 says."""

    what: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """How a rank ended that could not go on; `lost` where the reason is that another one is gone."""

    rank: int
    error: dict[str, str]
    lost: bool


@dataclass(frozen=True, slots=True)
class Halted:
    """The training was stopped; `epochs` are those that it has finished."""

    epochs: list[dict[str, Any]]


def main() -> None:
    """Carry out the one order that comes in on stdin."""
    follow(int(sys.argv[1]))
    faulthandler.enable()
    orders, events = take_pipes()
    order: Order = pickle.load(orders)
    stopping = threading.Event()
    threading.Thread(target=_listen, args=(orders, stopping), daemon=True).start()
    failed = _carried_out(order, stopping, lambda event: _send(events, event))
    events.close()
    # not by return: threads of batches and of the process group may wait for what does not come any more
    os._exit(1 if failed else 0)


def _carried_out(order: Order, stopping: threading.Event, send: Callable[[Any], None]) -> bool:
    """Run the order's function; return whether it failed."""
    from nas.parallel.ranks import RankLostError
    from nas.train import Stopped

    try:
        _run(order, stopping, send)
    except Stopped as stopped:
        send(Halted(stopped.epochs))
    except Exception as error:  # noqa: BLE001 - whatever it is, who launched the ranks raises it
        send(Failed(order.rank, describe(error), isinstance(error, RankLostError)))
        return True
    return False


def _run(order: Order, stopping: threading.Event, send: Callable[[Any], None]) -> None:
    import torch
    import torch.distributed as dist

    from nas.parallel.join import TIMEOUT, joined

    torch.set_num_threads(order.threads)
    load()
    for plugin in order.plugins:
        use_file(plugin)
    module, _, name = order.function.partition(":")
    function: Function = getattr(importlib.import_module(module), name)
    given = _read(order.given)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{order.store}",
        rank=order.rank,
        world_size=order.number,
        timeout=TIMEOUT,
    )
    leads = order.rank == 0
    tell = (lambda what: send(Told(what))) if leads else _silent
    function(joined(order.rank), stopping.is_set, tell, *given)


def _read(given: bytes) -> Any:
    try:
        return pickle.loads(given)  # from the process that started this one, over a pipe
    except (AttributeError, ImportError) as error:
        what = f"another process cannot read what is to be trained: {error}"
        raise NasError(
            f"{what}; define it in a file of its own, and name that with --use"
        ) from error


def _silent(_: Any) -> None:
    """Say nothing: what ranks other than 0 have to tell is the same."""


def _listen(orders: BinaryIO, stopping: threading.Event) -> None:
    """Take in the request to stop; end the process where who launched it is gone."""
    with suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            if pickle.load(orders) == STOP:
                stopping.set()
    os._exit(1)


def _send(events: BinaryIO, event: Any) -> None:
    pickle.dump(event, events)
    events.flush()
