"""Expected costs: at a one-hot the counted ones, and the mean over all architectures otherwise."""

from __future__ import annotations

import pytest
import torch

from nas.cost import Counter
from nas.errors import PlanError
from nas.leaf import Leaf
from nas.relax.expected import expected
from nas.relax.weights import ArchitectureParameters, one_hot
from nas.resolve import decide
from tests.nas.relax.spaces import SIZE, TEXTS, Relaxed, relaxed


def prices(leaf: Leaf) -> tuple[int, int]:
    return leaf.macs, leaf.params


def parameters(case: Relaxed, seed: int = 0) -> ArchitectureParameters:
    """Return architecture parameters far from uniform."""
    found = ArchitectureParameters(case.asked.values())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for logits in found.logits:
            logits.normal_(generator=generator)
    return found.double()


@pytest.mark.parametrize("name", TEXTS)
def test_at_a_one_hot_they_are_the_counted_ones(name: str) -> None:
    case, counter, compared = relaxed(name), Counter(SIZE), 0
    for seed in range(60):
        architecture, decisions = case.draw(seed)
        try:
            counted = counter.count(architecture)
        except PlanError:  # nothing but zeros on the way to the logits
            continue
        found = expected(case.plan, one_hot(case.asked, decisions), prices)
        assert found.tolist() == [counted.macs, counted.params]
        compared += 1
    assert compared >= 30


@pytest.mark.parametrize("name", ["cells", "context", "pyramid", "path"])
def test_they_are_the_mean_over_all_architectures(name: str) -> None:
    case, counter = relaxed(name), Counter(SIZE)
    asked = parameters(case)
    chances = {path: p.tolist() for path, p in asked.probabilities().items()}
    total, macs, params = 0.0, 0.0, 0.0
    for architecture in case.space.enumerate():
        chance = 1.0
        for path, index in decide(case.space, architecture).items():
            chance *= chances.get(path, [1.0])[index]
        counted = counter.count(architecture)
        total, macs, params = (
            total + chance,
            macs + chance * counted.macs,
            params + chance * counted.params,
        )
    assert total == pytest.approx(1)
    assert expected(case.plan, asked.softmax(), prices).tolist() == pytest.approx(
        [macs, params], rel=1e-9
    )


@pytest.mark.parametrize("name", ["cells", "pyramid", "trellis"])
def test_their_gradients_are_finite_differences(name: str) -> None:
    case = relaxed(name)
    asked = parameters(case)
    expected(case.plan, asked.softmax(), prices)[0].backward()
    for logits in asked.logits:
        gradient = [0.0] * len(logits) if logits.grad is None else logits.grad.tolist()
        slopes = [_slope(case, asked, logits, i) for i in range(len(logits))]
        assert slopes == pytest.approx(gradient, rel=1e-4, abs=1.0)


def _slope(case: Relaxed, asked: ArchitectureParameters, logits: torch.Tensor, i: int) -> float:
    step = 1e-5
    values = []
    with torch.no_grad():
        for moved in (step, -2 * step):
            logits[i] += moved
            values.append(expected(case.plan, asked.softmax(), prices)[0].item())
        logits[i] += step
    return (values[0] - values[1]) / (2 * step)
