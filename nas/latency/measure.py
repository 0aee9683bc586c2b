"""Measured latency: networks take turns with a reference, so that a slow moment of the machine hits all alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from nas.latency.clock import Sample
from nas.latency.runtimes import Session

WARM_UP = 3
MOST = 10
BUSY = 1.25
"""Wall clock over processor time, on one thread, from which somebody else was using the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Milliseconds of one evaluation over `runs`: median and 90th percentile on the wall, median processor time.

    `min_ms` is the fastest, in the network's own time (`Sample.own_ms`): it repeats best, since other work on the
    machine only adds. `relative` is that over the reference's in the same rounds, in which drift cancels; `spread` the
    repeat error: how far the fastest of odd and of even rounds are apart, as a share.
    """

    median_ms: float
    p90_ms: float
    min_ms: float
    cpu_ms: float
    relative: float
    spread: float
    runs: int

    @property
    def is_distrusted(self) -> bool:
        """Whether the wall clock shows much more than the processor's: then other work took its share."""
        return 0 < self.cpu_ms * BUSY < self.median_ms


def interleaved(
    sessions: Mapping[str, Session],
    reference: Session | None = None,
    *,
    runs: int = 20,
    seconds: float = 0.0,
    seed: int = 0,
    told: Callable[[int], None] = lambda _: None,
) -> dict[str, Measured]:
    """Time every session `runs` times, one evaluation each in turn, in an order drawn anew for each round.

    Small networks are gone through more often, up to `MOST` times `runs`, until `seconds` are over: a slow moment of
    the machine may last longer than all their runs. `told` hears the number of each finished round. The time of the
    warm-up is not kept.
    """
    order = Random(seed)
    everything = {**sessions, **({} if reference is None else {"": reference})}
    taken: dict[str, list[Sample]] = {name: [] for name in everything}
    for session in everything.values():
        for _ in range(WARM_UP):
            session.time()
    end = time.monotonic() + seconds
    for turn in range(MOST * runs):
        if turn >= runs and time.monotonic() >= end:
            break
        for name in order.sample(list(everything), len(everything)):
            taken[name].append(everything[name].time())
        told(turn + 1)
    beside = min((s.own_ms for s in taken.get("", ())), default=None)
    return {name: summary(taken[name], beside) for name in sessions}


def summary(samples: Sequence[Sample], reference_ms: float | None = None) -> Measured:
    """Sum up the samples of one network; `reference_ms` is the reference's fastest in the same rounds."""
    wall = [s.wall_ms for s in samples]
    own = [s.own_ms for s in samples]
    return Measured(
        median_ms=statistics.median(wall),
        p90_ms=percentile(wall, 0.9),
        min_ms=min(own),
        cpu_ms=statistics.median(s.cpu_ms for s in samples),
        relative=1.0 if reference_ms is None else min(own) / reference_ms,
        spread=_spread(own),
        runs=len(wall),
    )


def _spread(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    low, high = sorted((min(values[::2]), min(values[1::2])))
    return 1 - low / high


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked) - 1e-9) - 1)]
