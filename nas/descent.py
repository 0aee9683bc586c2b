"""The architecture of a space with the least of something: a cost, or how far it is over the limits.

Costs are sums over the parts of a network, in which a part's share depends on its neighbours (a width on the next
width). So one decision is changed at a time, whatever a change opens is decided for the least by itself before the two
are compared, and since that ends where only several changes at once would help, it is done again from changed
architectures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from nas.draws import Drawer, Drawn, first, last
from nas.errors import LimitError
from nas.language.decide import decide
from nas.problem import Limits
from nas.units import show_cost

Size = Callable[[Drawn], float]
Change = Callable[[Drawn, str, int], Drawn | None]
KICKS = 12
"""Times that the smallest is changed at random and made small again, after the last time that this helped."""
KICK = (0.1, 0.2, 0.4)
"""Shares of its decisions that are then drawn anew."""
RANDOM_STARTS = 3
PAIRS = 1500
"""Pairs of changes that are tried at the end, at most."""
LISTED = 2000
"""Architectures of a space up to which all are looked at before limits are called impossible."""


@dataclass(frozen=True, slots=True)
class Descent:
    """Makes architectures smaller, for one drawer and one measure of size; what has come to `enough` is left alone."""

    drawer: Drawer
    size: Size
    enough: float = -math.inf

    def is_done(self, drawn: Drawn) -> bool:
        """Return whether it is small enough."""
        return self.size(drawn) <= self.enough

    def settle(self, start: Drawn, among: Callable[[str], bool] = lambda _: True) -> Drawn:
        """Change one decision after another for the better until none helps; only paths that `among` lets through."""
        return self._settled(start, among, self._changed)

    def _settled(self, start: Drawn, among: Callable[[str], bool], change: Change) -> Drawn:
        best, before = start, None
        while best is not before:
            before = best
            for path in filter(among, list(best.decisions)):
                best = best if self.is_done(best) else self._best_at(best, path, change)
        return best

    def _best_at(self, drawn: Drawn, path: str, change: Change) -> Drawn:
        """Return the best architecture with another option at `path`, or `drawn` where none is better."""
        decision = drawn.decisions.get(path)
        if decision is None:
            return drawn
        others = (i for i in range(len(decision.options)) if i != decision.taken)
        changed = (change(drawn, path, i) for i in others)
        return min([drawn, *filter(None, changed)], key=self.size)

    def _changed(self, drawn: Drawn, path: str, index: int) -> Drawn | None:
        """Return `drawn` with another option, what that opens decided for the least; None where it does not fit.

        What is opened in turn while that is decided takes its first option: a walk opens all that comes after a move,
        and to decide each of these for the least would take a time exponential in its length.
        """
        flipped = self._flipped(drawn, path, index)
        if flipped is None or flipped.decisions.keys() <= drawn.decisions.keys():
            return flipped
        return self._settled(flipped, lambda p: p not in drawn.decisions, self._flipped)

    def _flipped(self, drawn: Drawn, path: str, index: int) -> Drawn | None:
        return self.drawer.flipped(drawn, path, index, first)


def least(
    drawer: Drawer, size: Size, starts: Sequence[Drawn], rng: Random, enough: float = -math.inf
) -> Drawn:
    """Return the smallest architecture that many descents reach, or the first that is small `enough`.

    `starts` are one or more to begin at.
    """
    descent = Descent(drawer, size, enough)
    best = descent.settle(min(starts, key=size))
    ends = (drawer.draw({}, option) for option in (first, last))
    for start in (*filter(None, ends), *drawer.random(rng, RANDOM_STARTS)):
        if descent.is_done(best):
            return best
        best = min(best, descent.settle(start), key=size)
    return _paired(descent, _kicked(descent, best, rng), rng)


def within_reach(drawer: Drawer, limits: Limits, starts: Sequence[Drawn], rng: Random) -> Drawn:
    """Return an architecture within the limits; LimitError says how close the space comes where there is none.

    `starts` are some architectures of the space, one or more.
    """
    found = least(drawer, lambda drawn: drawn.excess(limits), starts, rng, enough=0.0)
    if found.excess(limits) > 0.0 and drawer.space.size() <= LISTED:
        found = min([found, *_all(drawer)], key=lambda drawn: drawn.excess(limits))
    if found.excess(limits) <= 0.0:
        return found
    caps = dict(limits.items())
    smallest = {
        name: least(drawer, lambda drawn, name=name: drawn.cost(name), [found, *starts], rng)  # type: ignore[misc]
        for name in caps
    }
    asked = ", ".join(f"{name} {show_cost(name, cap)}" for name, cap in caps.items())
    reached = _exact({name: drawn.cost(name) for name, drawn in smallest.items()})
    together = _exact({name: found.cost(name) for name in caps})
    closest = f", and the one closest to all limits together {together}" if len(caps) > 1 else ""
    raise LimitError(
        f"no architecture of the space is within the limits ({asked}): the smallest that the space can reach"
        f" have {reached}{closest}; raise the limits, or choose a space with smaller networks"
    )


def _all(drawer: Drawer) -> Iterator[Drawn]:
    """Yield every architecture of the space that fits together."""
    for architecture in drawer.space.enumerate():
        if (drawn := drawer.draw(decide(drawer.space, architecture), first)) is not None:
            yield drawn


def _exact(costs: Mapping[str, float]) -> str:
    """Return costs with figures that can be given as limits: whole numbers exactly, others rounded up."""
    figures = {
        name: f"{cost:.0f}" if cost == round(cost) else f"{math.ceil(cost * 1e3) / 1e3:g}"
        for name, cost in costs.items()
    }
    return ", ".join(f"{name} {show_cost(name, costs[name])} ({figures[name]})" for name in costs)


def _kicked(descent: Descent, best: Drawn, rng: Random) -> Drawn:
    """Change some decisions at random and settle again, until that has not helped for a while."""
    idle = 0
    while idle < KICKS and not descent.is_done(best):
        idle += 1
        kicked = descent.drawer.redrawn(best, KICK[idle % len(KICK)], rng)
        if kicked is not None and descent.size(found := descent.settle(kicked)) < descent.size(
            best
        ):
            best, idle = found, 0
    return best


def _paired(descent: Descent, best: Drawn, rng: Random) -> Drawn:
    """Change two decisions at once wherever that helps."""
    for (a, i), (b, j) in () if descent.is_done(best) else _pairs(best, rng):
        once = descent.drawer.flipped(best, a, i, first)
        twice = once and descent.drawer.flipped(once, b, j, first)
        if twice is not None and descent.size(twice) < descent.size(best):
            return _paired(descent, descent.settle(twice), rng)
    return best


def _pairs(drawn: Drawn, rng: Random) -> Iterable[Sequence[tuple[str, int]]]:
    """Return pairs of changes, all of them or `PAIRS` at random."""
    changes = [
        (path, i)
        for path, decision in drawn.decisions.items()
        for i in range(len(decision.options))
        if i != decision.taken
    ]
    pairs = [p for p in combinations(changes, 2) if p[0][0] != p[1][0]]
    return rng.sample(pairs, min(len(pairs), PAIRS))
