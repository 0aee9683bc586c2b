"""The score of one architecture inside the supernet is that of its closed network with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.network import Network, build
from nas.relax.network import RelaxedNetwork, closed_name
from nas.relax.one_hot_score import Normed, one_hot_score
from nas.relax.weights import one_hot
from nas.train import score
from tests.nas.relax.spaces import SIZE, relaxed


class Sum:
    """A metric that any difference changes: the sum of all that it sees."""

    def __init__(self) -> None:
        self.total = 0.0

    def update(self, output: Tensor, _target: Tensor) -> None:
        self.total += float(output.double().sum())

    def compute(self) -> dict[str, Any]:
        return {"miou": self.total}


class Task:
    """Scores by `Sum`."""

    def metric(self) -> Sum:
        return Sum()


def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        yield torch.randn(2, 3, *SIZE, generator=generator), torch.zeros(2, *SIZE)


def settled(network: Network) -> Network:
    for module in network.modules():
        if isinstance(module, Normed):
            module.reset_running_stats()
            module.momentum = None
    network.train()
    with torch.no_grad():
        for images, _ in batches(1):
            network(images)
    return network


@pytest.mark.parametrize("name", ["cells", "context"])
def test_it_is_the_closed_networks_and_leaves_the_supernet_as_it_was(name: str) -> None:
    case = relaxed(name)
    torch.manual_seed(0)
    network = RelaxedNetwork(case.plan)
    for seed in range(3):
        architecture, decisions = case.draw(seed)
        weights = one_hot(case.asked, decisions)
        before = {k: v.clone() for k, v in network.state_dict().items()}
        found = one_hot_score(
            network,
            case.asked,
            decisions,
            Task(),  # type: ignore[arg-type]
            settle=batches(1),
            held=batches(2),
        )
        assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
        twin = build(architecture, SIZE)
        state = {
            f"{closed_name(step.name)}.{key}": value
            for step in network.chosen(weights)
            if (module := network.place(step)) is not None
            for key, value in module.state_dict().items()
        }
        twin.load_state_dict(state)
        assert score(settled(twin), Task(), batches(2)) == found  # type: ignore[arg-type]
