"""Any encoder, context, neck and head that are registered fit each other: two at a time, and at random all together."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import pytest
import torch
from examples import SMALL, tree
from hypothesis import given, settings
from hypothesis import strategies as st
from in_slots import firsts

from nas.network import Network
from nas.plan import Planner

SIZE = (97, 131)
SLOTS = ("encoder", "context", "neck", "head")


@cache
def planner() -> Planner:
    return Planner(SIZE)


def around(parts: dict[str, Any]) -> dict[str, Any]:
    semantic = {slot: spec for slot, spec in parts.items() if slot != "encoder"}
    return tree(parts["encoder"], semantic, SIZE)


@pytest.mark.parametrize("slots", list(itertools.combinations(SLOTS, 2)), ids="-".join)
def test_any_two_kinds_fit(slots: tuple[str, str]) -> None:
    for pair in itertools.product(*map(firsts, slots)):
        plan = planner().plan(around({**SMALL, **dict(zip(slots, pair, strict=True))}))
        assert plan.macs > 0


@given(st.tuples(*[st.sampled_from(firsts(slot)) for slot in SLOTS]))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_any_four_kinds_train_a_step(four: tuple[dict[str, Any], ...]) -> None:
    torch.manual_seed(0)
    network = Network(planner().plan(around(dict(zip(SLOTS, four, strict=True)))))
    out = network(torch.randn(2, 3, *SIZE))
    assert out.logits.shape == (2, 5, *SIZE)
    out.logits.square().mean().backward()
    grads = {name: p.grad for name, p in network.named_parameters()}
    assert not [name for name, grad in grads.items() if grad is None or not grad.isfinite().all()]
    assert network.eval()(torch.randn(1, 3, *SIZE)).isfinite().all()
