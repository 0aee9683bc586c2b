"""Which networks of a space are worth timing: of every size, and with as many different leaves as possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from nas.architecture import Architecture
from nas.choosers import random_chooser
from nas.errors import LatencyError, PlanError
from nas.plan import Planner
from nas.resolve import closed
from nas.space import Space

POOL = 12
"""Random networks looked at for each one that is chosen."""
IDLE = 300
"""Random draws in a row that give nothing new after which a space has no more."""

Key = tuple[bytes, object]


@dataclass(frozen=True, slots=True)
class _Drawn:
    architecture: Architecture
    macs: int
    leaves: frozenset[Key]


def networks_to_time(
    space: Space, size: tuple[int, int], count: int, seed: int = 0
) -> list[Architecture]:
    """Return up to `count` different networks of the space, small and large ones mixed, the same for the same seed.

    Random ones are sorted by MACs into `count` groups of one size; of each that one is taken that has most leaves
    which no other has. Fewer come back where the space has fewer.
    """
    pool = sorted(_pool(space, size, Random(seed), POOL * count), key=lambda d: d.macs)
    if not pool:
        raise LatencyError(
            f"no network of the space {space.name} can be built at {size[0]}x{size[1]}"
        )
    groups = [pool[i * len(pool) // count : (i + 1) * len(pool) // count] for i in range(count)]
    chosen = [_newest(group, seen) for group, seen in _with_seen(groups)]
    Random(seed).shuffle(chosen)
    return [drawn.architecture for drawn in chosen]


def _pool(space: Space, size: tuple[int, int], rng: Random, count: int) -> Iterator[_Drawn]:
    """Yield different random networks that fit together."""
    planner, known, idle = Planner(size), set[str](), 0
    while len(known) < count and idle < IDLE:
        idle += 1
        architecture = closed(space, random_chooser(rng))
        try:
            plan = planner.plan(architecture)
        except PlanError:
            continue
        if plan.digest not in known:
            idle = 0
            known.add(plan.digest)
            steps, _ = plan.steps()
            leaves = frozenset((step.leaf.key, step.leaf.inputs) for step in steps)
            yield _Drawn(architecture, plan.macs, leaves)


def _with_seen(groups: Sequence[Sequence[_Drawn]]) -> Iterator[tuple[Sequence[_Drawn], set[Key]]]:
    """Yield each group that has a network, with the set to which its choice is added."""
    seen: set[Key] = set()
    for group in groups:
        if group:
            yield group, seen


def _newest(group: Sequence[_Drawn], seen: set[Key]) -> _Drawn:
    """Return the network with most leaves that are not in `seen`, and add its leaves."""
    best = max(group, key=lambda drawn: len(drawn.leaves - seen))
    seen |= best.leaves
    return best
