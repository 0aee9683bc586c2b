"""Targets as a person writes them, and what differs between two sets of conditions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import LatencyError
from nas.latency.target import RUNTIMES, Conditions, Target, default_target, versions

TARGETS = st.builds(
    Target,
    runtime=st.sampled_from(sorted(set(RUNTIMES) - {"tensorrt"})),
    device=st.sampled_from(["cpu", "cuda", "cuda:1"]),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
    batch=st.integers(1, 64),
    threads=st.integers(1, 64),
    memory_format=st.sampled_from(["contiguous", "channels_last"]),
    size=st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
)


@given(TARGETS)
def test_a_target_is_read_back_from_its_text(target: Target) -> None:
    assert Target.of(str(target), target.size) == target


@given(TARGETS)
def test_conditions_are_read_back(target: Target) -> None:
    conditions = Conditions(target=target, host="a board", versions={"x": "1"}, code="abc")
    assert Conditions.from_dict(conditions.to_dict()) == conditions


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("cpu", Target(runtime="eager")),
        ("cuda", Target(runtime="eager", device="cuda")),
        ("tensorrt", Target(runtime="tensorrt", device="cuda")),
        ("onnxruntime, threads=2", Target(threads=2)),
        ("compiled,device=cuda:1,batch=8", Target(runtime="compiled", device="cuda:1", batch=8)),
    ],
)
def test_short_texts(text: str, target: Target) -> None:
    assert Target.of(text) == target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onxruntime", "did you mean 'onnxruntime'"),
        ("eager,thread=2", "did you mean 'threads'"),
        ("eager,2", "each as name=value"),
        ("eager,threads=two", "threads is a whole number, got 'two'"),
        ("eager,threads=0", "whole numbers from 1"),
        ("eager,dtype=float23", "did you mean 'float32'"),
        ("eager,memory_format=last", "no memory_format is called 'last'"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(LatencyError, match=message):
        Target.of(text)


def test_every_difference_is_named_and_nothing_else() -> None:
    target = Target(size=(64, 128))
    mine = Conditions(target=target, host="a", versions={"torch": "1"}, code="c")
    assert mine.differences(mine) == []
    other = Conditions(
        target=replace(target, size=(64, 64), threads=2, dtype="float16", runtime="eager"),
        host="b",
        versions={"torch": "2"},
        code="d",
    )
    names = {line.partition(":")[0] for line in mine.differences(other)}
    assert names == {
        *("runtime", "dtype", "threads", "size", "host"),
        *("version of torch", "version of the blocks' code"),
    }
    assert "size: it has 64x128, wanted 64x64" in mine.differences(other)


def test_the_default_is_what_is_installed() -> None:
    target = default_target((64, 64))
    assert (target.runtime == "onnxruntime") == ("onnxruntime" in versions(Target()))
