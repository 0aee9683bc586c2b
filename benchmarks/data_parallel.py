"""Seconds of a training step by two processes of one thread each, beside one process of two threads.

    python benchmarks/data_parallel.py
    python benchmarks/data_parallel.py --network ddrnet23_slim --size 256x512 --batch 16 --workers 4

The same network, batch and loss in turns of a few steps, so that whatever else the machine does falls on both. While
one process works alone the others wait. Prints seconds on the clock and of processors (all processes together), and
ratios of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from nas.architecture import load_architecture
from nas.network import Network, build
from nas.parallel.launch import launch
from nas.parallel.ranks import ALONE, Ranks
from nas.recipe import Recipe
from nas.registry import domain
from nas.task import Task
from nas.train import never, train

STEPS = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """What is measured."""

    network: str
    size: tuple[int, int]
    batch: int
    loss: str
    rounds: int
    workers: int


def measured(
    ranks: Ranks, _stop: Callable[[], bool], tell: Callable[[Any], None], given: dict[str, Any]
) -> None:
    """Tell the seconds of each turn: (name, clock, processors) per step."""
    asked = Asked(**given)
    architecture = load_architecture(asked.network).with_classes(19).with_input((3, *asked.size))
    task = domain().plain_task(architecture.tree)
    network = build(architecture, seed=0)
    for number in range(asked.rounds + 1):
        turns = [("together", ranks, 1), ("alone", ALONE, ranks.number), ("one thread", ALONE, 1)]
        for name, who, threads in turns[:: 1 if number % 2 else -1]:
            began = time.process_time()
            with threads_of(threads):
                clock = steps(network, task, asked, who) if who is ranks or ranks.leads else 0.0
            worked = float(ranks.all(torch.tensor(time.process_time() - began)).sum())
            if number:  # the first turn pays for what is loaded at first use
                tell((name, clock, worked / STEPS))


def steps(network: Network, task: Task, asked: Asked, ranks: Ranks) -> float:
    """Take a few steps; return the seconds of one."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(asked.batch, 3, *asked.size, generator=generator)
    labels = torch.randint(0, 19, (asked.batch, *asked.size), generator=generator)
    own = [(ranks.part(images), ranks.part(labels))] * STEPS
    recipe = replace(Recipe(), batch=asked.batch, epochs=1, loss=asked.loss, precision="fp32")
    rows = train(
        network,
        task,
        lambda _: own,
        recipe,
        steps_per_epoch=STEPS,
        seed=0,
        device="cpu",
        ranks=ranks,
    )
    return float(list(rows)[-1]["seconds"]) / STEPS


@contextmanager
def threads_of(number: int) -> Iterator[None]:
    """Compute with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    yield
    torch.set_num_threads(before)


def size(text: str) -> tuple[int, int]:
    """Return (height, width) of "HEIGHTxWIDTH"."""
    height, width = map(int, text.split("x"))
    return height, width


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", default="fast_scnn")
    parser.add_argument("--size", type=size, default=(128, 256))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--loss", default="cross_entropy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    given = vars(parser.parse_args())
    asked = Asked(**given)
    turns: dict[str, list[tuple[float, ...]]] = {}
    for name, *seconds in launch("data_parallel:measured", given, number=asked.workers, stop=never):
        turns.setdefault(name, []).append(tuple(seconds))
    kinds = {
        "together": f"{asked.workers} processes x 1 thread",
        "alone": f"1 process x {asked.workers} threads",
        "one thread": "1 process x 1 thread",
    }
    medians = {
        n: [statistics.median(column) for column in zip(*t, strict=True)] for n, t in turns.items()
    }
    for name, what in kinds.items():
        clock, worked = medians[name]
        print(f"{what}: {clock:.3f} s a step, {worked:.3f} s of processors")
    for name in ("alone", "one thread"):
        pairs = zip(turns["together"], turns[name], strict=True)
        ratios = sorted(other[0] / together[0] for together, other in pairs)
        print(
            f"{kinds['together']} are {statistics.median(ratios):.2f} times as fast as {kinds[name]} "
            f"(rounds: {ratios[0]:.2f} to {ratios[-1]:.2f}); "
            f"processor seconds {medians['together'][1] / medians[name][1]:.2f} times"
        )


if __name__ == "__main__":
    main()
