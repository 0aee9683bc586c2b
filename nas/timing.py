"""Measured latency: several runners of one network take turns, so that a busy moment of the machine hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one evaluation: median and 90th percentile over `runs`, and how it was measured."""

    median_ms: float
    p90_ms: float
    runs: int
    device: str
    threads: int
    batch: int
    size: tuple[int, int]


def interleaved(
    runners: Mapping[str, Callable[[Tensor], object]],
    images: Tensor,
    *,
    runs: int = 20,
    threads: int = 1,
) -> dict[str, Latency]:
    """Time each runner on `images` (N, 3, H, W) on the CPU, one evaluation each in turn, `runs` times."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(WARM_UP + runs):
        for name, run in runners.items():
            start = time.perf_counter()
            run(images)
            if turn >= WARM_UP:
                times[name].append(1000 * (time.perf_counter() - start))
    size = (images.shape[2], images.shape[3])
    return {
        name: Latency(
            statistics.median(taken),
            percentile(taken, 0.9),
            runs,
            "cpu",
            threads,
            images.shape[0],
            size,
        )
        for name, taken in times.items()
    }


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -(-int(1000 * share * len(ranked)) // 1000) - 1))]
