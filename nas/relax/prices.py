"""Prices: what a leaf that runs costs, so that costs have expectations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nas.leaf import Leaf
from nas.parts import Plan
from nas.relax.expected import expected
from nas.relax.network import Weights

Prices = Mapping[str, Callable[[Leaf], float]]


@dataclass(frozen=True, slots=True)
class Price:
    """What each leaf costs, and a `constant` that every network costs beside its leaves."""

    of: Callable[[Leaf], float]
    constant: float = 0.0

    def __call__(self, leaf: Leaf) -> float:
        return self.of(leaf)


PRICES: Prices = {
    "macs": lambda leaf: leaf.macs,
    "params": lambda leaf: leaf.params,
}
"""The costs that are known everywhere."""


class Additive(Protocol):
    """A latency as a sum over leaves and a constant, in milliseconds: `nas.latency.predictor.Predictor` is one."""

    constant_ms: float

    def node_ms(self, leaf: Leaf) -> float:
        """Return what one leaf adds."""


def latency(predictor: Additive) -> Price:
    """Return the price in milliseconds, by the predictor's additive form: the regressor on top of it is left out."""
    return Price(predictor.node_ms, predictor.constant_ms)


def expected_costs(plan: Plan, weights: Weights, prices: Prices) -> dict[str, Tensor]:
    """Return the expected cost by name, in double precision."""
    if not prices:
        return {}
    each = list(prices.values())
    sums = expected(plan, weights, lambda leaf: [price(leaf) for price in each])
    constants = torch.tensor([getattr(p, "constant", 0.0) for p in each], dtype=sums.dtype)
    return dict(zip(prices, (sums + constants.to(sums.device)).unbind(), strict=True))
