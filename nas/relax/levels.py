"""Levels: what can run at the same time, being needed by nothing of its own level."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import TopologicalSorter
from typing import Protocol, TypeVar


class Linked(Protocol):
    """What has to run after what gives its inputs."""

    @property
    def inputs(self) -> tuple[int, ...]:
        """Values that it reads."""

    @property
    def outputs(self) -> tuple[int, ...]:
        """Values that it adds."""


L = TypeVar("L", bound=Linked)


def in_levels(runs: Sequence[L]) -> list[list[L]]:
    """Return runs in levels that need earlier ones only, each as late as what needs it allows.

    So cells that end in the same sum are in step, however their inputs come to them.
    """
    makers = {value: number for number, run in enumerate(runs) for value in run.outputs}
    needs = {
        number: {makers[value] for value in run.inputs if value in makers}
        for number, run in enumerate(runs)
    }
    heights = [0] * len(runs)
    for number in reversed(tuple(TopologicalSorter(needs).static_order())):
        above = heights[number] + 1
        for maker in needs[number]:
            heights[maker] = max(heights[maker], above)
    levels: list[list[L]] = [[] for _ in range(max(heights) + 1)]
    for run, height in zip(runs, heights, strict=True):
        levels[-1 - height].append(run)
    return levels
