"""What costs add to the loss: targets from both sides, limits from one, weights by the logarithm."""

from __future__ import annotations

import math

import pytest
import torch

from nas.cost import Counter
from nas.errors import TrainingError
from nas.relax.mixing import Mixing
from nas.relax.penalty import Penalty
from nas.relax.prices import PRICES
from nas.relax.supernet import Supernet
from tests.nas.relax.spaces import SIZE, relaxed
from tests.nas.relax.supernets import logits, supernet


def costs() -> tuple[float, float]:
    """Return the MACs of the cheapest and the dearest architecture."""
    case, counter = relaxed("cells"), Counter(SIZE)
    found = [counter.count(case.draw(seed)[0]).macs for seed in range(200)]
    return min(found), max(found)


def only_costs_count(net: Supernet, steps: int = 400) -> float:
    """Teach the architecture with no loss but the penalty; return its expected MACs."""
    net.network.forward = lambda image, _weights: image.sum() * 0  # type: ignore[method-assign]
    for _ in range(steps):
        net.teach(torch.zeros(1, 3, *SIZE), torch.zeros(1), lambda value, _target: value)
    return net.expected_costs()["macs"].item()


def slope(penalty: Penalty, cost: float) -> float:
    given = torch.tensor(cost, dtype=torch.double, requires_grad=True)
    added = penalty({"macs": given})
    if not isinstance(added, torch.Tensor):
        return 0.0
    (found,) = torch.autograd.grad(added, given)
    return float(found)


def test_a_weight_is_that_of_the_logarithm() -> None:
    """Twice the cost is worth weight * log(2), wherever it is."""
    penalty = Penalty(Mixing(weights={"macs": 0.1}), PRICES)
    for cost in (3.0, 4e9):
        low, high = (
            penalty({"macs": torch.tensor(c, dtype=torch.double)}) for c in (cost, 2 * cost)
        )
        assert float(high - low) == pytest.approx(0.1 * math.log(2))
        assert slope(penalty, cost) == pytest.approx(0.1 / cost)


def test_a_limit_counts_from_above_only() -> None:
    penalty = Penalty(Mixing(limits={"macs": 100.0}, pressure=0.01, stiffness=2.0), PRICES)
    assert slope(penalty, 99.0) == 0.0
    assert penalty.multipliers == {"macs": 0.0}
    assert slope(penalty, 110.0) == pytest.approx((0.001 + 2 * 0.1) / 100)
    assert penalty.multipliers["macs"] == pytest.approx(0.001)


def test_a_targets_slope_is_the_multiplier_and_the_square() -> None:
    penalty = Penalty(Mixing(targets={"macs": 100.0}, pressure=0.01, stiffness=2.0), PRICES)
    assert slope(penalty, 90.0) == pytest.approx((-0.001 - 2 * 0.1) / 100)
    assert slope(penalty, 120.0) == pytest.approx((-0.001 + 0.002 + 2 * 0.2) / 100)


def test_a_limit_that_is_kept_anyway_changes_nothing() -> None:
    _, most = costs()
    free, limited = supernet(), supernet(limits={"macs": 1.01 * most})
    for net in (free, limited):
        only_costs_count(net, steps=20)
    assert all(torch.equal(a, b) for a, b in zip(logits(free), logits(limited), strict=True))


def test_a_limit_is_kept_by_what_wants_to_be_dear() -> None:
    least, most = costs()
    limit = least + 0.4 * (most - least)
    net = supernet(limits={"macs": limit}, lr=0.03, weight_decay=0.0)

    def wants_more(_value: torch.Tensor, _target: torch.Tensor) -> torch.Tensor:
        return -0.2 * net.expected_costs(["macs"])["macs"].log()

    net.network.forward = lambda image, _weights: image.sum() * 0  # type: ignore[method-assign]
    for _ in range(600):
        net.teach(torch.zeros(1, 3, *SIZE), torch.zeros(1), wants_more)
    assert net.expected_costs()["macs"].item() == pytest.approx(limit, rel=0.05)
    assert net.multipliers["macs"] > 0


def test_a_weight_makes_cheap() -> None:
    least, _ = costs()
    net = supernet(weights={"macs": 1.0}, lr=0.1, weight_decay=0.0)
    assert only_costs_count(net) == pytest.approx(least, rel=0.02)


@pytest.mark.parametrize("field", ["targets", "limits", "weights"])
def test_unknown_costs_are_refused(field: str) -> None:
    with pytest.raises(TrainingError, match="no cost is called 'latency_ms'; known: macs, params"):
        Penalty(Mixing(**{field: {"latency_ms": 1.0}}), PRICES)
