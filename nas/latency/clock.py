"""Timing one evaluation: on the wall, and in processor time or on the GPU's own clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """Milliseconds of one evaluation; `cpu_ms` is this process's processor time, 0 where a GPU's clock was read."""

    wall_ms: float
    cpu_ms: float = 0.0

    @property
    def own_ms(self) -> float:
        """What the network itself took: on one thread the processor's time, which other work does not stretch."""
        return min(self.wall_ms, self.cpu_ms) if self.cpu_ms else self.wall_ms


def cpu_clock(run: Callable[[], object]) -> Sample:
    """Time `run` on the wall and in processor time of all threads of this process."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Sample(1000 * wall, 1000 * cpu)


def cuda_clock(run: Callable[[], object]) -> Sample:
    """Time `run` between two events on the GPU's current stream; waits for what was queued before, and for its end."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    end.synchronize()
    return Sample(start.elapsed_time(end))
