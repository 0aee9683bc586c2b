"""What leaves do, in numbers: multiply-adds add up to what is counted, and operations fall into the right class."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nas.choosers import random_chooser
from nas.latency.work import CLASSES, TERMS, Work, work_of
from nas.leaf import Leaf
from nas.plan import Planner
from nas.resolve import closed
from nas.space import load_space

SIZE = (64, 96)


def leaves(space: str, number: int) -> list[Leaf]:
    planner, rng = Planner(SIZE), random.Random(5)
    plans = [planner.plan(closed(load_space(space), random_chooser(rng))) for _ in range(number)]
    return [step.leaf for plan in plans for step in plan.steps()[0]]


def one(kind: str, fields: dict[str, Any], name: str) -> Work:
    """The work of the first leaf of a kind in a small network of a stage of `{kind: fields}`."""
    tree = {
        "task": {"semantic": {"classes": 3}},
        "input": [3, 64, 96],
        "encoder": {"stages": {"stem": 16, "stages": [{"width": 16, "blocks": [{kind: fields}]}]}},
        "decoders": {"semantic": {"head": {"fcn": {"width": 16, "finest": 4}}}},
    }
    steps = Planner(SIZE).plan(tree).steps()[0]
    return work_of(next(step.leaf for step in steps if step.name.startswith(name)))


@pytest.mark.parametrize("space", ["tiny", "real_time"])
def test_multiply_adds_add_up_to_what_is_counted(space: str) -> None:
    for leaf in leaves(space, 15):
        work = work_of(leaf)
        assert sum(work.macs.values()) == leaf.macs
        assert all(
            work.calls[name] for name in CLASSES if work.bytes[name] + work.macs.get(name, 0)
        )


def test_classes_of_a_convolution_and_of_a_separable_one() -> None:
    stem = one("separable", {}, "encoder.stages.stem")
    assert {n: c for n, c in stem.calls.items() if c} == {"dense": 1, "folded": 2}
    separable = one("separable", {}, "encoder.stages.stage1.0")
    assert {n: c for n, c in separable.calls.items() if c} == {
        "depthwise": 1,
        "pointwise": 1,
        "folded": 4,
    }


def test_traffic_of_a_convolution_is_input_weights_and_output() -> None:
    stem = one("basic", {}, "encoder.stages.stem")
    image, weights, output = 3 * 64 * 96, 16 * 3 * 9, 16 * 32 * 48
    assert stem.bytes["dense"] == 4 * (image + weights + output)


def test_a_vector_holds_everything_once() -> None:
    work = one("mbconv", {}, "encoder.stages.stage1.0")
    vector = work.vector()
    macs, traffic, calls = (sum(vector[terms]) for terms in TERMS)
    assert macs == pytest.approx(sum(work.macs.values()) / 1e9)
    assert traffic == pytest.approx(sum(work.bytes.values()) / 1e8)
    assert calls == pytest.approx(sum(work.calls.values()) / 10)
    assert len(vector) == TERMS[-1].stop
