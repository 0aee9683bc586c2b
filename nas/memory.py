"""Peak memory of a network in evaluation and in training, in bytes of fp32, without a tensor of its size.

Counted are images, activations, what autograd keeps, gradients, and what kernels hold while they run; in training also
the target and the loss. Weights, buffers and the optimiser's state are not: they do not depend on the input.
Gradients of parameters count from the moment that backward makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from nas.allocations import Allocations
from nas.batch_norm import enough_values
from nas.errors import TrainingError
from nas.leaf_memory import ALONE, Conditions, layout, leaf_memory
from nas.network import Network
from nas.parts import Plan
from nas.recipe import Recipe
from nas.scratch import rules

if TYPE_CHECKING:
    from nas.task import Task

FLOAT = 4
IMAGE = 0
"""The value of a plan that is the image: whoever calls the network holds it to the end."""


def peak_inference(plan: Plan, conditions: Conditions = ALONE) -> int:
    """Return the bytes held at most while the network evaluates a batch, images included."""
    return max(bytes_by_step(plan, conditions).values())


def bytes_by_step(plan: Plan, conditions: Conditions = ALONE) -> dict[str, int]:
    """Return, by node in running order, the bytes held at most while the node runs, in evaluation.

    That is what is still needed of what ran before, and what the node makes on its way.
    """
    return dict(_steps(plan, conditions))


def _steps(plan: Plan, conditions: Conditions) -> Iterator[tuple[str, int]]:
    held = FLOAT * conditions.batch * 3 * plan.size[0] * plan.size[1]
    layouts = {IMAGE: conditions.channels_last}
    owner = {IMAGE: IMAGE}  # of each value: the value that its storage was made for
    users = {
        IMAGE: 2
    }  # of each storage: the values in it that are still needed; the caller holds the image
    sizes: dict[int, int] = {}
    for step in plan.steps()[0]:
        memory = leaf_memory(step.leaf, tuple(layouts[v] for v in step.inputs), conditions)
        yield step.name, held + memory.peak
        held += memory.output
        layouts[step.output] = bool(memory.channels_last)
        made = step.output if memory.shares < 0 else owner[step.inputs[memory.shares]]
        owner[step.output] = made
        users[made] = users.get(made, 0) + 1
        sizes.setdefault(made, memory.output)
        for value in step.frees:
            users[owner[value]] -= 1
            held -= sizes[owner[value]] if users[owner[value]] == 0 else 0


def peak_training(plan: Plan, task: Task, recipe: Recipe, device: str = "cpu") -> int:
    """Return the bytes held at most in a training step: forward, the task's loss, backward; images and target included.

    The whole network runs on the meta device, with the recipe's batch, crop, layout and loss, in fp32 whatever its
    precision. Raises TrainingError for a loss whose shapes depend on values, and where batch norm has one value only.
    """
    size = recipe.crop or plan.size
    with torch.device("meta"):
        network = Network(plan).train().to(memory_format=layout(recipe.channels_last))  # type: ignore[call-overload]
        images = torch.empty(recipe.batch, 3, *size, memory_format=layout(recipe.channels_last))
        target = task.blank(recipe.batch, size)
    memory = Allocations(rules(device))
    memory.hold(images)
    memory.hold(target)
    with memory, enough_values(), _explained(recipe):
        output = network(images)
        loss = task.loss(output, target, recipe)
        loss.backward()  # type: ignore[no-untyped-call]
    return memory.most


@contextmanager
def _explained(recipe: Recipe) -> Iterator[None]:
    """Turn what the meta device refuses into TrainingError with what to do."""
    try:
        yield
    except RuntimeError as error:
        if "meta" not in str(error):
            raise
        raise TrainingError(
            f"the memory of a step with loss {recipe.loss!r} cannot be told: its shapes depend on the values of the "
            f"predictions ({error}); ask for that of 'cross_entropy', which keeps as much"
        ) from error
