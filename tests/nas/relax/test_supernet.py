"""The supernet: weights and architecture learn in turn, on other images; costs are steered; a resumed one goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.errors import TrainingError
from nas.network import Output
from nas.recipe import Recipe
from nas.relax.mixing import Mixing
from nas.relax.supernet import Supernet
from nas.train import State, train
from tests.nas.relax.spaces import SIZE, relaxed

RECIPE = Recipe(epochs=4, batch=2, optimizer="sgd", lr=0.02, precision="fp32")
STEPS = 3


class Task:
    """Any task's loss: cross entropy of the logits."""

    def loss(self, output: Output, target: Tensor, _recipe: Recipe) -> Tensor:
        return torch.nn.functional.cross_entropy(output.logits, target)


def loss(output: Output, target: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(output.logits, target)


def images(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        labels = torch.randint(0, 5, (2, *SIZE), generator=generator)
        yield torch.randn(2, 3, *SIZE, generator=generator), labels


def supernet(**changes: Any) -> Supernet:
    case = relaxed("cells")
    torch.manual_seed(0)
    return Supernet(case.plan, case.asked.values(), Mixing(**changes), seed=1)


def trained(net: Supernet, *, start: State | None = None, until: int = 4) -> list[State]:
    states: list[State] = []

    def batches(epoch: int) -> Any:
        return net.between(images(epoch), images(100 + epoch), loss, epoch=epoch, epochs=4)

    rows = train(
        net,
        Task(),
        batches,
        RECIPE,
        steps_per_epoch=STEPS,
        seed=0,
        device="cpu",
        start=start,
        keep=states.append,
    )  # type: ignore[arg-type]
    for row in rows:
        if row["epoch"] == until:
            break
    return states


def logits(net: Supernet) -> list[Tensor]:
    return [p.detach().clone() for p in net.architecture.logits]


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


@pytest.mark.parametrize("form", ["softmax", "gumbel"])
def test_a_resumed_search_is_the_uninterrupted_one(form: str) -> None:
    whole = supernet(form=form, targets={"macs": 5e5})
    states = trained(whole)
    again = supernet(form=form, targets={"macs": 5e5})
    trained(again, start=states[2])
    assert all(torch.equal(a, b) for a, b in zip(logits(whole), logits(again), strict=True))
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    assert whole.multipliers == again.multipliers


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


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(
        TrainingError, match=r"no target can be set for \['memory'\]; expected some of macs"
    ):
        supernet(targets={"memory": 1.0})
