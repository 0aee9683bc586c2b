"""How rare architectures within the limits are, where too few of the random ones are to count them.

Subset simulation (Au and Beck, 2001): the share of random architectures that are at most so far over the limits is
found level by level, each level a fifth of the one before. Within a level more architectures are made from those that
reach it, by deciding some of their questions anew and keeping what stays within the level; that keeps random
architectures random (`Drawer.redrawn`), so no ratio for their numbers of decisions has to be minded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from nas.draws import Drawer, Drawn
from nas.problem import Limits

SCARCE = 0.01
"""Share of random architectures within the limits from which on they are simply counted."""
KEPT = 0.2
"""Share of a level's architectures that reach the next one; a last level has at least as many within the limits."""
GROWN = 1500
"""Architectures per level: estimates of one in ten thousand are then off by a third or more, and take some seconds."""
LEVELS = 10
"""Levels at most: shares are told down to one in ten million."""
REDRAWN = (0.05, 0.15, 0.4)
"""Shares of its questions that an architecture decides anew to become another one, one of them at random."""


@dataclass(frozen=True, slots=True)
class Tightness:
    """Share of random architectures within the limits; `within` are some of them, as random as they come.

    With none of them, all that is known is that the share is below `share`.
    """

    share: float
    within: tuple[Drawn, ...]
    is_estimated: bool = True

    def __str__(self) -> str:
        return f"{'about' if self.within else 'fewer than'} 1 in {_rounded(1 / self.share):,}"


def tightness(
    drawer: Drawer, limits: Limits, drawn: Sequence[Drawn], rng: Random, *, draws: int
) -> Tightness:
    """Return how tight the limits are; `drawn` are what fits together of `draws` random architectures."""
    samples = [(d.excess(limits), d) for d in drawn]
    counted = tuple(d for excess, d in samples if excess <= 0.0)
    if len(counted) >= SCARCE * draws:
        return Tightness(len(counted) / draws, counted, is_estimated=False)
    if not samples:
        return Tightness(1.0 / draws, ())
    share, number = 1.0, draws
    for _ in range(LEVELS):
        level = _level([excess for excess, _ in samples], max(1, int(KEPT * number)))
        kept = [(excess, d) for excess, d in samples if excess <= level]
        share *= len(kept) / number
        if level <= 0.0 or len(kept) == number:
            break
        samples = _grown(drawer, limits, kept, level, rng)
        number = len(samples)
    return Tightness(share, tuple(d for excess, d in samples if excess <= 0.0))


def _level(excesses: Sequence[float], wanted: int) -> float:
    """Return the excess that `wanted` of these reach; where all do, the largest that some do not, if there is one."""
    in_order = sorted(excesses)
    level = in_order[min(wanted, len(in_order)) - 1]
    below = [e for e in in_order if e < in_order[-1]]
    return level if level < in_order[-1] or not below else below[-1]


def _grown(
    drawer: Drawer,
    limits: Limits,
    kept: Sequence[tuple[float, Drawn]],
    level: float,
    rng: Random,
) -> list[tuple[float, Drawn]]:
    """Return `GROWN` random architectures within a level, by chains of changes that begin at those kept."""
    chains = rng.sample(list(kept), len(kept))
    grown: list[tuple[float, Drawn]] = []
    while len(grown) < GROWN:
        chain = len(grown) % len(chains)
        other = drawer.redrawn(chains[chain][1], rng.choice(REDRAWN), rng)
        if other is not None and (excess := other.excess(limits)) <= level:
            chains[chain] = (excess, other)
        grown.append(chains[chain])
    return grown


def _rounded(number: float) -> int:
    """Return a number with its first digit only: nothing finer is known."""
    whole = round(number)
    unit = int(10 ** (len(str(whole)) - 1))
    return round(whole / unit) * unit
