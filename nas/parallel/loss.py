"""The loss of a batch of which each rank has its slice."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from nas.parallel.ranks import Ranks
from nas.recipe import Recipe
from nas.task import Task


@runtime_checkable
class OfParts(Protocol):
    """A task whose loss needs less than the whole output on every rank: sums over ranks, say."""

    def loss_of_parts(self, output: Any, target: Tensor, recipe: Recipe, ranks: Ranks) -> Tensor:
        """Return the loss of the whole batch, of which output and target are this rank's slice."""
        ...


def loss_of(task: Task, output: Any, target: Tensor, recipe: Recipe, *, ranks: Ranks) -> Tensor:
    """Return the task's loss of the whole batch on every rank; its gradient flows into this rank's slice.

    Any loss at all is right if each rank computes it of the whole batch; a task that knows better says so (`OfParts`).
    """
    if ranks.number == 1:
        return task.loss(output, target, recipe)
    if isinstance(task, OfParts):
        return task.loss_of_parts(output, target, recipe, ranks)
    return task.loss(ranks.whole(output), ranks.whole(target), recipe)
