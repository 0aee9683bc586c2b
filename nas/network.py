"""`Network(plan)`: the one module that runs any plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from nas.plan import Plan, Planner, Step

if TYPE_CHECKING:
    from nas.architecture import Architecture


class Output(NamedTuple):
    """What a network returns in training: logits (N, classes, H, W), and auxiliary logits of that shape by name."""

    logits: Tensor
    aux: dict[str, Tensor]


class Network(nn.Module):
    """Runs the live leaves of a plan, on images of any size.

    (N, 3, H, W) -> (N, classes, H, W) in evaluation, an `Output` in training. Parameter names are the
    names of the plan's nodes.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._eval = _Program(self, plan, training=False)
        self._train = _Program(self, plan, training=True)

    @property
    def leaf_names(self) -> tuple[str, ...]:
        """Names of the leaves that run in evaluation, in running order: submodules, each."""
        return tuple(step.name for step, _ in self._eval.steps)

    def forward(self, image: Tensor) -> Any:
        if not self.training:
            values = self._eval.run(image)
            return values["logits"] if len(values) == 1 else values
        values = self._train.run(image)
        return Output(values.pop("logits"), values)


class _Program:
    """Steps with the module of each; not a module itself, so that no parameter has two names."""

    def __init__(self, owner: nn.Module, plan: Plan, training: bool) -> None:
        steps, self.outputs = plan.steps(training)
        self.steps = tuple((step, _place(owner, step)) for step in steps)

    def run(self, image: Tensor) -> dict[str, Tensor]:
        values: dict[int, Tensor] = {0: image}
        for step, module in self.steps:
            values[step.output] = step.leaf.call(module, [values[v] for v in step.inputs])
            for value in step.frees:
                del values[value]
        return {name: values[v] for name, v in self.outputs.items()}


def _place(owner: nn.Module, step: Step) -> nn.Module:
    """Return the module of a step, made at first use, nested by the dots of its name."""
    *groups, last = step.name.split(".")
    for group in groups:
        owner = child(owner, group, nn.Module)
    return child(owner, last, step.leaf.make)


def child(owner: nn.Module, name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """Return the module `name` of `owner`, made at first use."""
    children = dict(owner.named_children())
    if name not in children:
        children[name] = make()
        owner.add_module(name, children[name])
    return children[name]


def build(
    architecture: Architecture | Mapping[str, Any],
    size: tuple[int, int] | None = None,
    seed: int | None = None,
) -> Network:
    """Build the network of a closed architecture, planned at `size` (H, W) or its own input size.

    `seed` fixes the initial weights without touching the global generator's state.
    """
    plan = Planner(size or input_size(architecture)).plan(architecture)
    if seed is None:
        return Network(plan)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Network(plan)


def input_size(architecture: Architecture | Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of the architecture's own input."""
    tree = architecture if isinstance(architecture, Mapping) else architecture.tree
    _, height, width = tree["input"]
    return int(height), int(width)
