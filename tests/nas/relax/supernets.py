"""Supernets of small spaces, images to teach them with, and their training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nas.network import Output
from nas.optim import learning_rate
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


def supernet(name: str = "cells", **changes: Any) -> Supernet:
    case = relaxed(name)
    torch.manual_seed(0)
    return Supernet(case.plan, case.asked.values(), Mixing(**changes), seed=1)


def trained(net: Supernet, *, start: State | None = None, until: int = 4) -> list[State]:
    states: list[State] = []

    def batches(epoch: int) -> Any:
        def rate(step: int) -> float:
            return learning_rate(RECIPE, epoch * STEPS + step, RECIPE.epochs * STEPS)

        others = images(100 + epoch)
        return net.between(images(epoch), others, loss, epoch=epoch, epochs=4, rate=rate)

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
