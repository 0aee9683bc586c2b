"""Architectures of a space with the decisions behind them and what they cost; and how to change them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from nas.architecture import Architecture
from nas.cost import Counted, Counter
from nas.errors import PlanError
from nas.problem import Limits
from nas.resolve import closed
from nas.space import Space

Fallback = Callable[[str, Sequence[Any]], int]


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: the index of the option taken, and what the options are called."""

    taken: int
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One architecture, the decisions that give it, and its costs and identity."""

    architecture: Architecture
    decisions: Mapping[str, Decision]
    counted: Counted

    def cost(self, name: str) -> float:
        """Return the cost called `name`, one of `nas.units.COSTS`."""
        return self.counted.cost(name)

    def excess(self, limits: Limits) -> float:
        """Return by how much costs are over their limits, as shares of the limits, in all; 0 only within them."""
        caps = dict(limits.items())
        costs = self.counted.costs(caps)
        excess = limits.excess(costs)
        over = [name for name, cap in caps.items() if costs[name] > cap]
        return sum(max(excess[name], sys.float_info.epsilon) for name in over)

    @property
    def taken(self) -> dict[str, int]:
        """The index of the option taken, by path."""
        return {path: decision.taken for path, decision in self.decisions.items()}


@dataclass(slots=True)
class Drawer:
    """Closes a space in any way that is asked for; remembers what does not fit together."""

    space: Space
    counter: Counter
    broken: list[str] = field(default_factory=list)

    def draw(self, forced: Mapping[str, int], otherwise: Fallback) -> Drawn | None:
        """Take the `forced` decisions where they come up, `otherwise` elsewhere; None where the plan does not fit."""
        decisions: dict[str, Decision] = {}

        def choose(path: str, options: Sequence[Any]) -> int:
            taken = forced.get(path, -1)
            if not 0 <= taken < len(options):
                taken = otherwise(path, options)
            decisions[path] = Decision(taken, tuple(map(str, options)))
            return taken

        architecture = closed(self.space, choose)
        try:
            return Drawn(architecture, decisions, self.counter.count(architecture))
        except PlanError as error:
            self.broken.append(f"{architecture.id}: {error}")
            return None

    def random(self, rng: Random, number: int) -> Iterator[Drawn]:
        """Yield up to `number` random architectures."""
        for _ in range(number):
            if (drawn := self.draw({}, at_random(rng))) is not None:
                yield drawn

    def flipped(self, drawn: Drawn, path: str, index: int, otherwise: Fallback) -> Drawn | None:
        """Return the architecture with only the decision at `path` changed; new decisions below are `otherwise`."""
        return self.draw({**drawn.taken, path: index}, otherwise)

    def redrawn(self, drawn: Drawn, share: float, rng: Random) -> Drawn | None:
        """Decide each question anew with chance `share`, and new ones at random; None where it does not fit.

        Architectures drawn at random stay so: each question's options are as likely afterwards as before, whatever
        the number of questions, so from x to y is as frequent as from y to x among random architectures.
        """
        forced = {p: d.taken for p, d in drawn.decisions.items() if rng.random() >= share}
        return self.draw(forced, at_random(rng))


def at_random(rng: Random) -> Fallback:
    """Return a chooser that takes any option, each as likely as the others."""
    return lambda _, options: rng.randrange(len(options))


def first(_: str, options: Sequence[Any]) -> int:  # noqa: ARG001
    """Take the first option: spaces write the smallest first."""
    return 0


def last(_: str, options: Sequence[Any]) -> int:
    """Take the last option: spaces write the largest last."""
    return len(options) - 1
