"""What a differentiable search can come to: the least and the most of a cost among what it may decode."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any

from nas.descent import Descent
from nas.draws import Drawer, Drawn, at_random, first, last
from nas.errors import LimitError
from nas.relax.decode import NOTHING
from nas.units import show_cost

STARTS = 3
"""Random architectures to begin at, besides those of all first and of all last options."""
Choose = Callable[[str, Sequence[Any]], int]


def reach(drawer: Drawer, name: str, rng: Random) -> tuple[float, float]:
    """Return the least and the most that descents find of a cost, `zero` never kept where there is another option."""
    starts = [drawer.draw({}, _kept(c)) for c in (first, last, *[at_random(rng)] * STARTS)]
    found = [start for start in starts if start is not None]
    if not found:
        raise LimitError(f"no architecture of the space can be built, so {name} has no range")

    def end(sign: int) -> float:
        descent = Descent(drawer, lambda d: math.inf if has_nothing(d) else sign * d.cost(name))
        return sign * min(descent.size(descent.settle(start)) for start in found)

    return end(1), end(-1)


def check_targets(
    drawer: Drawer, targets: Mapping[str, Iterable[float]], rng: Random
) -> dict[str, tuple[float, float]]:
    """Return the range of each cost; raises LimitError where a target is outside of it."""
    ranges: dict[str, tuple[float, float]] = {}
    for name, values in targets.items():
        least, most = ranges[name] = reach(drawer, name, rng)
        for value in values:
            if not least <= value <= most:
                raise LimitError(
                    f"target {name} {show_cost(name, value)} is out of reach: architectures of the space have "
                    f"{show_cost(name, least)} to {show_cost(name, most)}; choose a target in this range, or another "
                    "space"
                )
    return ranges


def _kept(choose: Choose) -> Choose:
    """Return a chooser that never takes `zero` where there is another option."""

    def chosen(path: str, options: Sequence[Any]) -> int:
        left = [i for i, option in enumerate(options) if not is_nothing(option)] or [0]
        return left[choose(path, [options[i] for i in left])]

    return chosen


def has_nothing(drawn: Drawn) -> bool:
    """Return whether an architecture has `zero` among its decisions."""
    return any(is_nothing(d.options[d.taken]) for d in drawn.decisions.values())


def is_nothing(label: Any) -> bool:
    """Return whether a label is of the kind `zero`: its name, or a mapping of it as text."""
    return str(label).lstrip("{").partition(":")[0] == NOTHING
