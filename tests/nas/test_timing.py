"""Latency: who is run how often, and which numbers come out."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.timing import WARM_UP, interleaved, percentile


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_a_percentile_is_the_smallest_value_that_covers_its_share(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(v <= found for v in values) >= share * len(values) - 1e-9
    smaller = [v for v in values if v < found]
    assert not smaller or sum(v <= max(smaller) for v in values) < share * len(values)


def test_runners_take_turns() -> None:
    called: list[str] = []
    runners = {"a": lambda _: called.append("a"), "b": lambda _: called.append("b")}
    measured = interleaved(runners, torch.zeros(2, 3, 4, 6), runs=5, threads=1)
    assert called == ["a", "b"] * (WARM_UP + 5)
    assert measured["a"].size == (4, 6)
    assert (measured["a"].batch, measured["a"].runs) == (2, 5)
    assert 0 <= measured["a"].median_ms <= measured["a"].p90_ms
