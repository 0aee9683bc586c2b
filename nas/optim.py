"""Optimisers without weight decay on norms and biases, and learning rates as pure functions of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from nas.recipe import Recipe

FUSED = frozenset({"cpu", "cuda"})
ENCODER = "encoder"
"""The part of parameter names that tells the encoder's."""


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the learning rate of `step` (from 0) out of `steps`.

    Linear warm-up over the first round(warmup * steps) steps, the first of them already above zero.
    Then poly: lr * (1 - t) ** power; cosine: lr * (1 + cos(pi * t)) / 2, with t from 0 to just below
    1 over the remaining steps.
    """
    warm = min(round(recipe.warmup * steps), steps - 1)
    if step < warm:
        return recipe.lr * (step + 1) / (warm + 1)
    t = min((step - warm) / (steps - warm), 1.0)
    if recipe.schedule == "cosine":
        return float(recipe.lr * (1 + math.cos(math.pi * t)) / 2)
    return float(recipe.lr * (1 - t) ** recipe.power)


def parameter_groups(
    network: nn.Module, weight_decay: float, head_lr: float = 1.0
) -> list[dict[str, Any]]:
    """Return two groups: weights with decay; norms, biases and vectors without.

    Where `head_lr` is not 1 two more follow, of all parameters outside the encoder; `factor` is what the
    learning rate of a group is multiplied by.
    """
    kept = {id(p) for m in network.modules() if _is_norm(m) for p in m.parameters(recurse=False)}
    factors = (1.0,) if head_lr == 1 else (1.0, head_lr)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {
        (factor, free): [] for factor in factors for free in (False, True)
    }
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        is_free = parameter.ndim < 2 or name.rpartition(".")[2] == "bias" or id(parameter) in kept
        groups[1.0 if ENCODER in name.split(".") else factors[-1], is_free].append(parameter)
    return [
        {"params": found, "weight_decay": 0.0 if free else weight_decay, "factor": factor}
        for (factor, free), found in groups.items()
    ]


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over the network's parameters; its learning rate is set at every step."""
    groups = parameter_groups(network, recipe.weight_decay, recipe.head_lr)
    device = next(p.device for p in network.parameters())
    fused = device.type in FUSED
    if recipe.optimizer == "sgd":
        sgd = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=fused)
        moving = sgd.param_groups if recipe.momentum else []
        for parameter in (p for group in moving for p in group["params"]):
            # the fused step fails where some parameters get their first gradient later than others (a sampled path)
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Give every group the learning rate `value`, times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = value * group.get("factor", 1.0)  # checkpoints of older versions have none


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()
