"""Costs of what decoding keeps: decided probabilities give the decoded architecture's own, to the last digit."""

from __future__ import annotations

import pytest
import torch

from nas.cost import Counter
from nas.errors import PlanError
from nas.relax.decode import decode
from nas.relax.likely import likely
from nas.relax.prices import PRICES, expected_costs
from nas.relax.weights import ArchitectureParameters
from tests.nas.relax.spaces import SIZE, relaxed

SURE = 30.0
"""Between the logits of two options: one is e^30 times as likely as the next."""


@pytest.mark.parametrize("name", ["trellis", "cells"])
def test_decided_probabilities_cost_what_is_decoded(name: str) -> None:
    case, compared = relaxed(name), 0
    for seed in range(8):
        parameters = ArchitectureParameters(case.asked.values(), seed)
        with torch.no_grad():
            for logits in parameters.logits:
                logits.copy_(SURE * logits.argsort())
        weights = parameters.softmax()
        decoded = decode(case.space, {p: [float(w) for w in ws] for p, ws in no_grad(weights)})
        try:
            counted = Counter(SIZE).count(decoded)
        except PlanError:
            continue
        costs = expected_costs(case.plan, likely(case.space)(weights), PRICES)
        found = {name: cost.item() for name, cost in costs.items()}
        assert found == pytest.approx({"macs": counted.macs, "params": counted.params})
        compared += 1
    assert compared >= 3


def test_a_pick_has_its_strongest_sources_and_no_zero() -> None:
    case = relaxed("trellis")
    weights = ArchitectureParameters(case.asked.values(), 3).softmax()
    found = likely(case.space)(weights)
    for path, question in case.asked.items():
        if question.kind == "pick":
            assert sorted(found[path])[-2:] == [1.0, 1.0]
            assert sum(found[path]) == 2.0
        elif "zero" in question.kinds:
            assert found[path][question.kinds.index("zero")] == 0.0
            assert sum(float(w) for w in dict(no_grad({path: found[path]}))[path]) == pytest.approx(
                1
            )


def no_grad(weights):  # type: ignore[no-untyped-def]
    return [
        (p, [w.detach() if isinstance(w, torch.Tensor) else w for w in ws])
        for p, ws in weights.items()
    ]
