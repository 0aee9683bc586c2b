"""Repair: from an architecture over the limits to one within them that keeps as many of its decisions as it can.

Decisions are changed in random order, each to the first option that lowers the excess over the limits, until nothing is
left of it; then changes are undone, in random order, where the limits hold without them. Where no single change lowers
the excess any more, decisions of an architecture that is known to be within the limits are taken over one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from nas.draws import Drawer, Drawn, Fallback, at_random
from nas.problem import Limits


@dataclass(frozen=True, slots=True)
class Repair:
    """Repairs architectures of one space; `model` is an architecture within the limits."""

    drawer: Drawer
    limits: Limits
    model: Drawn

    def repaired(self, proposal: Drawn, rng: Random) -> Drawn:
        """Return an architecture within the limits that is close to `proposal`; itself where it is within them."""
        lowered = self._lowered(proposal, rng)
        if not self._is_within(lowered):
            lowered = self._moved(lowered, rng)
        return self._restored(lowered, proposal, rng)

    def _is_within(self, drawn: Drawn | None) -> bool:
        return drawn is not None and drawn.excess(self.limits) <= 0.0

    def _lowered(self, drawn: Drawn, rng: Random) -> Drawn:
        """Change decisions for the better until the limits hold, or no single change helps."""
        before = None
        while drawn is not before and not self._is_within(drawn):
            before = drawn
            for path in rng.sample(list(drawn.decisions), len(drawn.decisions)):
                drawn = self._better_at(drawn, path, rng)
                if self._is_within(drawn):
                    break
        return drawn

    def _better_at(self, drawn: Drawn, path: str, rng: Random) -> Drawn:
        """Return `drawn` with the first option at `path`, in random order, that lowers the excess; else itself."""
        decision = drawn.decisions.get(path)
        if decision is None:
            return drawn
        others = [i for i in range(len(decision.options)) if i != decision.taken]
        for index in rng.sample(others, len(others)):
            other = self.drawer.flipped(drawn, path, index, at_random(rng))
            if other is not None and other.excess(self.limits) < drawn.excess(self.limits):
                return other
        return drawn

    def _moved(self, drawn: Drawn, rng: Random) -> Drawn:
        """Take over the model's decisions one by one, in random order, until the limits hold."""
        model = self.model.taken
        taken: dict[str, int] = {}
        for path in rng.sample(list(model), len(model)):
            taken[path] = model[path]
            moved = self.drawer.draw(drawn.taken | taken, _like(model, at_random(rng)))
            if moved is not None and self._is_within(moved):
                return moved
        return self.model

    def _restored(self, drawn: Drawn, proposal: Drawn, rng: Random) -> Drawn:
        """Undo what was changed where the limits hold without it."""
        wanted = proposal.taken
        for path in rng.sample(list(wanted), len(wanted)):
            if path not in drawn.decisions or drawn.decisions[path].taken == wanted[path]:
                continue
            forced = drawn.taken | {path: wanted[path]}
            undone = self.drawer.draw(forced, _like(wanted, at_random(rng)))
            if undone is not None and self._is_within(undone):
                drawn = undone
        return drawn


def _like(decisions: dict[str, int], otherwise: Fallback) -> Fallback:
    """Return a chooser that takes what was decided before, and leaves other questions to `otherwise`."""

    def choose(path: str, options: Sequence[Any]) -> int:
        return decisions[path] if path in decisions else otherwise(path, options)

    return choose
