"""The supernet: weights and architecture learn in turn, on other images; costs are steered; a resumed one goes on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nas.errors import TrainingError
from tests.nas.relax.spaces import SIZE, relaxed
from tests.nas.relax.supernets import images, logits, loss, supernet, trained


@pytest.mark.parametrize("form", ["softmax", "gumbel"])
def test_the_architecture_learns_after_the_warm_up_and_weights_in_every_epoch(form: str) -> None:
    net = supernet(form=form)
    before = logits(net)
    weights = {k: v.clone() for k, v in net.network.named_parameters()}
    trained(net, until=2)
    assert all(torch.equal(a, b) for a, b in zip(before, logits(net), strict=True))
    assert any(not torch.equal(weights[k], v) for k, v in net.network.named_parameters())
    net = supernet(form=form)
    trained(net)
    moved = [not torch.equal(a, b) for a, b in zip(before, logits(net), strict=True)]
    assert any(moved)
    assert all(moved) or form == "gumbel"


def test_a_step_of_one_leaves_the_other_alone() -> None:
    net = supernet().train()
    weights = {k: v.clone() for k, v in net.network.named_parameters()}
    net.teach(*next(images(0)), loss)
    assert all(
        torch.equal(weights[k], v) and v.grad is None for k, v in net.network.named_parameters()
    )
    before = logits(net)
    loss(net(next(images(0))[0]), next(images(0))[1]).backward()
    assert all(p.grad is None for p in net.architecture.logits)
    assert all(torch.equal(a, b) for a, b in zip(before, logits(net), strict=True))
    assert not {id(p) for p in net.parameters()} & {id(p) for p in net.architecture.parameters()}


RESUMED: list[dict[str, Any]] = [
    {"form": "softmax", "targets": {"macs": 5e5}},
    {"form": "gumbel", "targets": {"macs": 5e5}},
    {"order": 2, "limits": {"macs": 5e5}, "entropy": [0.0, 0.1], "temperature": [1.0, 0.3]},
]


@pytest.mark.parametrize("changes", RESUMED)
def test_a_resumed_search_is_the_uninterrupted_one(changes: dict[str, Any]) -> None:
    whole = supernet(**changes)
    states = trained(whole)
    again = supernet(**changes)
    trained(again, start=states[2])
    assert all(torch.equal(a, b) for a, b in zip(logits(whole), logits(again), strict=True))
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    assert whole.multipliers == again.multipliers
    assert whole.temperature == again.temperature


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_expected_costs_go_to_their_target(share: float) -> None:
    """Anywhere between the cheapest and the dearest architecture, whatever the loss says."""
    case = relaxed("cells")
    costs = [_macs(case, seed) for seed in range(200)]
    target = min(costs) + share * (max(costs) - min(costs))
    net = supernet(targets={"macs": target}, lr=0.03, weight_decay=0.0)
    net.network.forward = lambda image, _weights: image.sum() * 0  # type: ignore[method-assign]
    for _ in range(400):
        net.teach(torch.zeros(1, 3, *SIZE), torch.zeros(1), lambda value, _target: value)
    assert net.expected_costs()["macs"].item() == pytest.approx(target, rel=0.05)


def _macs(case: Any, seed: int) -> int:
    from nas.cost import Counter

    return Counter(SIZE).count(case.draw(seed)[0]).macs


def test_a_loss_that_is_not_finite_ends_it() -> None:
    net = supernet().train()
    with pytest.raises(TrainingError, match="architecture step is nan"):
        net.teach(*next(images(0)), lambda output, target: loss(output, target) * float("nan"))


def test_an_unknown_cost_is_refused() -> None:
    with pytest.raises(TrainingError, match="no cost is called 'mac'; did you mean 'macs'"):
        supernet(targets={"mac": 1.0})
