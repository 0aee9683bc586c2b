"""Decoding towards a cost: the most probable architecture that meets targets and limits, as far as changes find it.

What is most probable question by question need not cost what was expected on average. So from there one decision after
another is changed: always the one that loses the least probability for what it brings nearer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Any

from nas.descent import Descent
from nas.draws import Drawer, Drawn
from nas.errors import PlanError
from nas.relax.decode import Probabilities, decoder
from nas.relax.reach import has_nothing, is_nothing

NEAR = 0.02
"""Share of a target by which a cost may be off."""
CHANGES = 60
"""Decisions that are changed at most."""
PAIRS = 3000
"""Pairs of changes that are looked at where no single one brings it nearer."""
STARTS = 30
"""Random architectures to begin at where changes do not lead there."""
SURE = 1e-9
"""Probability below which options are alike."""

Choose = Callable[[str, Sequence[Any]], int]


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

    Where no change brings it nearer, alone or with another, other architectures are tried. Where `zero` is likeliest in
    places that leave no way to the logits, it is left out everywhere; raises PlanError where that is no network either.
    """
    decide = decoder(drawer.space, probabilities)
    best = drawer.draw({}, decide) or drawer.draw({}, _without_nothing(decide, probabilities))
    if best is None:
        raise PlanError(f"what the supernet points to is no network: {drawer.broken[-1]}")
    for _ in range(CHANGES):
        if aim.off(best) == 0.0:
            break
        ones = list(_changed(drawer, best, decide))
        found = _cheapest(ones, best, aim, probabilities)
        if found is None:
            pairs = (two for one in ones for two in _changed(drawer, one, decide))
            found = _cheapest(islice(pairs, PAIRS), best, aim, probabilities)
        best = found or _elsewhere(drawer, aim, best, probabilities)
        if found is None:
            break
    return best.taken


def _without_nothing(decide: Choose, probabilities: Probabilities) -> Choose:
    """Return the chooser that takes the likeliest of the other options where it would take `zero`."""

    def chosen(path: str, options: Sequence[Any]) -> int:
        taken = decide(path, options)
        left = [i for i, option in enumerate(options) if not is_nothing(option)]
        if not is_nothing(options[taken]) or not left:
            return taken
        return max(left, key=lambda i: probabilities[path][i] if path in probabilities else 0.0)

    return chosen


def _elsewhere(drawer: Drawer, aim: Aim, best: Drawn, probabilities: Probabilities) -> Drawn:
    """Return the best of where descents from random architectures end, if it is nearer; `best` else."""
    descent = Descent(drawer, lambda d: math.inf if has_nothing(d) else aim.off(d), enough=0.0)
    starts = drawer.random(Random(0), STARTS)
    ends = [descent.settle(start) for start in starts if not has_nothing(start)]
    return min([best, *ends], key=lambda d: (descent.size(d), -_chance(d, probabilities)))


def _cheapest(
    changed: Iterable[Drawn], best: Drawn, aim: Aim, probabilities: Probabilities
) -> Drawn | None:
    """Return what is nearer to the aim than `best` for the least probability; None where nothing is."""
    off, chance = aim.off(best), _chance(best, probabilities)
    nearer = [(d, aim.off(d)) for d in changed]
    prices = [
        ((chance - _chance(d, probabilities) + SURE) / (off - o), d) for d, o in nearer if o < off
    ]
    return min(prices, key=lambda pair: pair[0])[1] if prices else None


def _changed(drawer: Drawer, drawn: Drawn, decide: Choose) -> Iterator[Drawn]:
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
