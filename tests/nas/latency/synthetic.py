"""Tables whose times are a known function of what networks do: what a predictor has to find again."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

from nas.architecture import Architecture
from nas.choosers import random_chooser
from nas.latency.blocks_code import code_of
from nas.latency.table import Table, Timed
from nas.latency.target import Conditions, Target
from nas.latency.work import work_of
from nas.leaf import Leaf
from nas.plan import Planner
from nas.resolve import closed
from nas.space import load_space

SIZE = (64, 96)


def leaf_ms(leaf: Leaf) -> float:
    """Milliseconds of a leaf on an imaginary machine: sums over multiply-adds, bytes and calls."""
    work = work_of(leaf)
    macs = 1e-6 * sum(work.macs.values()) + 3e-6 * work.macs["depthwise"]
    return macs + 2e-7 * sum(work.bytes.values()) + 0.01 * sum(work.calls.values())


@cache
def random_texts(space: str, number: int, seed: int = 0) -> tuple[str, ...]:
    """Different random networks of a space."""
    rng, found = random.Random(seed), dict[str, None]()
    while len(found) < number:
        found[closed(load_space(space), random_chooser(rng)).text] = None
    return tuple(found)


def true_ms(text: str, ms: Callable[[Leaf], float] = leaf_ms) -> tuple[float, dict[str, float]]:
    """A network's time on the imaginary machine, and that of each of its leaves."""
    steps, _ = Planner(SIZE).plan(Architecture(text)).steps()
    nodes = {step.name: ms(step.leaf) for step in steps}
    return sum(nodes.values()), nodes


def table(
    space: str = "tiny", number: int = 30, *, profiled: bool = True, noise: float = 0.0
) -> Table:
    """A complete table of the imaginary machine; each total is off by up to `noise` of it."""
    texts = random_texts(space, number)
    rng, timed = random.Random(1), []
    for text in texts:
        ms, nodes = true_ms(text)
        timed.append(
            Timed(
                architecture=text,
                ms=ms * (1 + rng.uniform(-noise, noise)),
                nodes=nodes if profiled else None,
            )
        )
    return Table(
        space=space,
        space_digest=load_space(space).digest,
        conditions=Conditions(
            target=Target(runtime="eager", size=SIZE),
            host="imaginary",
            versions={},
            code=code_of(texts, SIZE),
        ),
        planned=texts,
        networks=tuple(timed),
    )
