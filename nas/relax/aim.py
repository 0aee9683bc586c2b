"""Decoding towards a cost: the most probable architecture that meets targets and limits, as far as changes find it.

What is most probable question by question need not cost what was expected on average. So from there one decision after
another is changed: always the one that loses the least probability for what it brings nearer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.draws import Drawer, Drawn
from nas.relax.decode import Probabilities, decoder
from nas.relax.reach import is_nothing

NEAR = 0.02
"""Share of a target by which a cost may be off."""
CHANGES = 60
"""Decisions that are changed at most."""
SURE = 1e-9
"""Probability below which options are alike."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Costs to meet from both sides, and costs not to pass."""

    targets: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)

    def off(self, drawn: Drawn) -> float:
        """Return by how much an architecture is off, as shares of targets and limits, in all; 0 is near enough."""
        missed = (abs(drawn.cost(n) / t - 1) for n, t in self.targets.items())
        over = (max(0.0, drawn.cost(n) / cap - 1) for n, cap in self.limits.items())
        return sum(m for m in missed if m > NEAR) + sum(over)


def aimed(drawer: Drawer, probabilities: Probabilities, aim: Aim) -> dict[str, int]:
    """Return the decisions of the architecture that probabilities point to, moved until it is on its aim.

    Where no single change brings it nearer, it stays as near as it is.
    """
    decide = decoder(drawer.space, probabilities)
    best = drawer.draw({}, decide)
    if best is None:
        return {}
    for _ in range(CHANGES):
        off = aim.off(best)
        if off == 0.0:
            break
        nearer = [d for d in _changed(drawer, best, decide) if aim.off(d) < off]
        if not nearer:
            break
        lost = _chance(best, probabilities)
        best = min(
            nearer,
            key=lambda d: (lost - _chance(d, probabilities) + SURE) / (off - aim.off(d)),
        )
    return best.taken


def _changed(
    drawer: Drawer, drawn: Drawn, decide: Callable[[str, Sequence[Any]], int]
) -> Iterator[Drawn]:
    """Yield all architectures with one decision changed, what that opens decided by the probabilities."""
    for path, decision in drawn.decisions.items():
        for i in range(len(decision.options)):
            if i == decision.taken or is_nothing(decision.options[i]):
                continue
            if (found := drawer.flipped(drawn, path, i, decide)) is not None:
                yield found


def _chance(drawn: Drawn, probabilities: Probabilities) -> float:
    """Return the logarithm of how probable the decisions are together; which sources a pick takes shows in these."""
    chances = (
        probabilities[path][d.taken]
        for path, d in drawn.decisions.items()
        if path in probabilities and len(probabilities[path]) == len(d.options)
    )
    return math.fsum(math.log(max(SURE, chance)) for chance in chances)
