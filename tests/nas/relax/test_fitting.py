"""Epochs that fit a budget: the most of them whose measured steps and trials end within it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import LimitError
from nas.relax.preflight import SHARE, fitting, seconds
from nas.relax.schedule import EPOCHS, Schedule

STEP = {"steps": 10, "weight_seconds": 0.1, "step_seconds": 0.3}


def test_a_search_takes_its_warm_up_its_branches_and_a_trial_for_each_snapshot() -> None:
    schedule = Schedule.of({"epochs": 10, "snapshots": 2, "sweep": {"macs": [1, 2, 3]}})
    assert seconds(schedule, STEP, 7.0) == pytest.approx(10 * (5 * 0.1 + 3 * 5 * 0.3) + 6 * 7.0)


@given(st.floats(1, 1000), st.floats(0, 10), st.integers(1, 5))
def test_one_more_epoch_would_not_fit(budget: float, trial: float, snapshots: int) -> None:
    schedule = Schedule.of({"snapshots": snapshots})
    needed = [seconds(replace(schedule, epochs=e), STEP, trial) for e in range(EPOCHS + 1) if e]
    fits = [e for e, s in enumerate(needed, 1) if s <= SHARE * budget]
    if max(fits, default=0) < 2:
        with pytest.raises(LimitError, match="not enough"):
            fitting(schedule, STEP, trial, budget)
    else:
        assert fitting(schedule, STEP, trial, budget) == max(fits)
