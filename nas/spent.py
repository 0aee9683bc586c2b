"""What a run has used of its budget, over all its drivers: seconds, and seconds of accelerators."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.problem import Budget
    from nas.record import Record

SAVE = 1.0
"""Seconds of the budget that a kill may forget."""


class Spent:
    """Counts on from what is on record; `gpus` is what one trial takes of them."""

    def __init__(self, record: Record, gpus: float = 0.0) -> None:
        self._record = record
        self._gpus = gpus
        self._before, self.gpu_seconds = record.seconds_used, record.gpu_seconds_used
        self._start = self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds on the clock."""
        return self._before + time.monotonic() - self._start

    def count(self, out: int) -> None:
        """Count the time since the last call for the accelerators of the `out` trials that were out in it."""
        now = time.monotonic()
        self.gpu_seconds += (now - self._last) * out * self._gpus
        self._last = now

    def save(self, every: float = SAVE) -> None:
        """Write it down if the last time is `every` seconds ago."""
        if self.seconds - self._record.seconds_used >= every:
            self._record.spend(self.seconds, self.gpu_seconds)

    def reaches(self, budget: Budget) -> bool:
        """Return whether the budget's time, or that of accelerators, is used."""
        by_clock = budget.seconds is not None and self.seconds >= budget.seconds
        return by_clock or (
            budget.gpu_seconds is not None and self.gpu_seconds >= budget.gpu_seconds
        )

    def left(self, budget: Budget) -> float | None:
        """Return the seconds on the clock that are left, None where there is no end."""
        return None if budget.seconds is None else max(0.0, budget.seconds - self.seconds)
