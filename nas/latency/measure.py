"""Measured latency: networks take turns with a reference network, so that a slow moment of the machine hits all alike."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from nas.latency.clock import Sample
from nas.latency.runtimes import Session

WARM_UP = 3
BUSY = 1.25
"""Wall clock over processor time, on one thread, from which somebody else was using the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Milliseconds of one evaluation over `runs`: median, 90th percentile, fastest, and median processor time.

    `relative` is the median of each run's time over that of the reference's in the same round; `spread` is the
    repeat error: how far the medians of odd and even rounds are apart, as a share.
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
    seed: int = 0,
    told: Callable[[int], None] = lambda _: None,
) -> dict[str, Measured]:
    """Time every session `runs` times, one evaluation each in turn, in an order drawn anew for each round.

    The reference is timed beside each; without one, times are relative to their own median. `told` hears the number
    of each finished round.
    """
    names, order = list(sessions), Random(seed)
    taken: dict[str, list[Sample]] = {name: [] for name in names}
    beside: dict[str, list[float]] = {name: [] for name in names}
    for session in (*sessions.values(), *([reference] if reference else [])):
        for _ in range(WARM_UP):
            session.time()
    for turn in range(runs):
        for name in order.sample(names, len(names)):
            if reference is not None:
                beside[name].append(reference.time().wall_ms)
            taken[name].append(sessions[name].time())
        told(turn + 1)
    return {name: summary(taken[name], beside[name]) for name in names}


def summary(samples: Sequence[Sample], beside: Sequence[float] = ()) -> Measured:
    """Sum up the samples of one network; `beside` holds the reference's wall times in the same rounds."""
    wall = [s.wall_ms for s in samples]
    median = statistics.median(wall)
    ratios = [w / b for w, b in zip(wall, beside, strict=True)] if beside else [1.0]
    return Measured(
        median_ms=median,
        p90_ms=percentile(wall, 0.9),
        min_ms=min(wall),
        cpu_ms=statistics.median(s.cpu_ms for s in samples),
        relative=statistics.median(ratios),
        spread=_spread(wall),
        runs=len(wall),
    )


def _spread(values: Sequence[float]) -> float:
    """Return how far the medians of every other value are apart, as a share of the larger."""
    if len(values) < 2:
        return 0.0
    low, high = sorted((statistics.median(values[::2]), statistics.median(values[1::2])))
    return 1 - low / high


def steady(values: Sequence[float], beside: Sequence[float], usual: float) -> list[float]:
    """Return the values as they would have been had the reference taken `usual` each time: drift cancels."""
    return [value * usual / then for value, then in zip(values, beside, strict=True)]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked) - 1e-9) - 1)]


def rounds(total: int, at_once: int) -> Iterator[range]:
    """Yield the positions 0 to `total` in blocks that are measured together."""
    for start in range(0, total, at_once):
        yield range(start, min(total, start + at_once))
