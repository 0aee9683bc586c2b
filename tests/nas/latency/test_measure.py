"""Who is timed how often and in which order, and which numbers come out."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.latency.clock import Sample, cpu_clock
from nas.latency.measure import MOST, WARM_UP, interleaved, percentile, summary
from nas.latency.runtimes import Session

TIMES = st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=40)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_a_percentile_is_the_smallest_value_that_covers_its_share(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(v <= found for v in values) >= share * len(values) - 1e-9
    smaller = [v for v in values if v < found]
    assert not smaller or sum(v <= max(smaller) for v in values) < share * len(values)


def scripted(name: str, called: list[str], ms: float) -> Session:
    """A session that says it took `ms`, and notes that it was asked."""

    def clock(run: object) -> Sample:
        called.append(name)
        return Sample(ms, ms)

    return Session(run=lambda: None, clock=clock)


@given(st.integers(1, 6), st.integers(0, 5))
def test_everybody_has_a_turn_in_every_round(runs: int, seed: int) -> None:
    called: list[str] = []
    sessions = {name: scripted(name, called, ms) for name, ms in (("a", 4.0), ("b", 6.0))}
    rounds: list[int] = []
    found = interleaved(
        sessions, scripted("ref", called, 2.0), runs=runs, seed=seed, told=rounds.append
    )
    timed = called[3 * WARM_UP :]
    assert all(set(timed[i : i + 3]) == {"a", "b", "ref"} for i in range(0, len(timed), 3))
    assert Counter(called) == dict.fromkeys(("a", "b", "ref"), WARM_UP + runs)
    assert rounds == list(range(1, runs + 1))
    assert (found["a"].relative, found["b"].relative) == (2.0, 3.0)
    assert (found["a"].median_ms, found["a"].spread, found["a"].runs) == (4.0, 0.0, runs)


def test_small_networks_are_run_until_the_time_is_over() -> None:
    called: list[str] = []
    session = scripted("a", called, 4.0)
    assert interleaved({"a": session}, runs=2, seconds=30.0)["a"].runs == MOST * 2
    slow = Session(run=lambda: time.sleep(0.02))
    assert 2 <= interleaved({"a": slow}, runs=2, seconds=0.1)["a"].runs < MOST * 2
    assert interleaved({"a": slow}, runs=3)["a"].runs == 3


@given(TIMES)
def test_a_summary_is_in_order_and_of_the_right_size(times: list[float]) -> None:
    found = summary([Sample(t, 2 * t) for t in times], 2.0)
    assert min(times) == found.min_ms <= found.median_ms <= found.p90_ms <= max(times)
    assert found.relative == found.min_ms / 2.0
    assert 0.0 <= found.spread < 1.0


@given(TIMES, st.floats(1, 20))
def test_waiting_for_others_is_not_the_networks_own_time(times: list[float], slow: float) -> None:
    quiet = summary([Sample(t, t) for t in times], 2.0)
    busy = summary([Sample(slow * t, t) for t in times], 2.0)
    assert (busy.min_ms, busy.relative, busy.spread) == (quiet.min_ms, quiet.relative, quiet.spread)
    assert busy.median_ms >= quiet.median_ms
    assert summary([Sample(t) for t in times]).min_ms == min(times)


@pytest.mark.parametrize(
    ("wall", "cpu", "distrusted"), [(10, 10, False), (10, 7, True), (10, 0, False)]
)
def test_a_busy_machine_is_seen(wall: float, cpu: float, distrusted: bool) -> None:
    assert summary([Sample(wall, cpu)]).is_distrusted == distrusted


def test_a_clock_tells_sleeping_from_working() -> None:
    slept = cpu_clock(lambda: time.sleep(0.05))
    assert slept.wall_ms >= 50
    assert slept.cpu_ms < slept.wall_ms / 2
    assert summary([slept]).is_distrusted or slept.cpu_ms == 0
