"""Learning rates by formula, and which parameters decay."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nas.optim import learning_rate, make_optimizer, parameter_groups, set_learning_rate
from nas.recipe import Recipe
from tests.nas.toy import toy


def test_poly_with_warm_up_by_hand() -> None:
    recipe = Recipe(lr=1.0, power=0.9, warmup=0.2)
    rates = [learning_rate(recipe, step, 10) for step in range(10)]
    expected = [1 / 3, 2 / 3, *((1 - t / 8) ** 0.9 for t in range(8))]
    assert rates == pytest.approx(expected)


def test_cosine_by_hand() -> None:
    recipe = Recipe(lr=2.0, schedule="cosine", warmup=0.0)
    rates = [learning_rate(recipe, step, 8) for step in range(8)]
    assert rates == pytest.approx([1 + math.cos(math.pi * t / 8) for t in range(8)])


@given(
    steps=st.integers(1, 500),
    warmup=st.floats(0, 1),
    schedule=st.sampled_from(["poly", "cosine"]),
    power=st.floats(0, 4),
)
def test_rates_rise_then_fall_and_are_never_zero_or_above_lr(
    steps: int, warmup: float, schedule: str, power: float
) -> None:
    recipe = Recipe.of({"lr": 0.5, "warmup": warmup, "schedule": schedule, "power": power})
    rates = [learning_rate(recipe, step, steps) for step in range(steps)]
    top = rates.index(max(rates))
    assert min(rates) > 0
    assert max(rates) == 0.5
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_norms_biases_and_vectors_do_not_decay() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)
            self.norm = nn.GroupNorm(2, 4)
            self.gamma = nn.Parameter(torch.ones(4))
            self.tied = self.conv
            self.fixed = nn.Parameter(torch.ones(3, 3), requires_grad=False)

    network = Scaled()
    decayed, free = parameter_groups(network, 0.1)
    assert [id(p) for p in decayed["params"]] == [id(network.conv.weight)]
    assert {id(p) for p in free["params"]} == {
        id(p) for p in (network.conv.bias, network.norm.weight, network.norm.bias, network.gamma)
    }
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


def test_what_is_outside_the_encoder_learns_at_its_own_rate() -> None:
    network = nn.ModuleDict({"encoder": nn.Conv2d(3, 4, 1), "decoder": nn.Conv2d(4, 2, 1)})
    recipe = Recipe.of({"optimizer": "sgd", "momentum": 0, "head_lr": 10, "weight_decay": 0})
    optimizer = make_optimizer(network, recipe)
    set_learning_rate(optimizer, 0.01)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        rate = 0.01 if name.startswith("encoder") else 0.1
        torch.testing.assert_close(parameter.detach(), before[name] - rate)


def test_groups_that_know_no_factor_learn_at_the_rate_itself() -> None:
    optimizer = torch.optim.SGD(toy().parameters(), lr=1.0)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_one_step_is_torchs_own(name: str) -> None:
    recipe = Recipe.of({"optimizer": name, "lr": 0.1, "weight_decay": 0.01})
    network, twin = toy(), toy()
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[name]
    plain = kind(
        parameter_groups(twin, 0.01), lr=0.05, **({"momentum": 0.9} if name == "sgd" else {})
    )
    optimizer = make_optimizer(network, recipe)
    set_learning_rate(optimizer, 0.05)
    for step in range(3):
        for one, other in zip(network.parameters(), twin.parameters(), strict=True):
            one.grad = torch.full_like(one, step + 1.0)
            other.grad = torch.full_like(other, step + 1.0)
        optimizer.step()
        plain.step()
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other)
