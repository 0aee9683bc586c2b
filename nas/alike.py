"""Options that never matter: taking one or the other gives the same network in every context that was tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from nas.draws import Drawer, Drawn, at_random
from nas.errors import PlanError

CONTEXTS = 12
"""Architectures in which a decision is flipped before its options are called alike."""
TRIED = 200
"""Architectures that an option may fail to fit into before it is said to fit nowhere."""
NAMED = 6
"""Options that a message names."""


@dataclass(frozen=True, slots=True)
class Alike:
    """Options of the choice at `path` that give one and the same network; `dead`: all of them do."""

    path: str
    options: tuple[str, ...]
    dead: bool
    where: str = field(default="", compare=False)

    def __str__(self) -> str:
        place = f"{self.where}: {self.path}" if self.where else self.path
        names = [*self.options[:NAMED], *(["..."] if len(self.options) > NAMED else [])]
        if self.dead:
            return f"{place}: changes nothing, whichever of {', '.join(names)} is taken"
        return f"{place}: {', '.join(names)} give the same network"


def find_alike(drawer: Drawer, contexts: Sequence[Drawn], rng: Random) -> list[Alike]:
    """Flip every decision found in `contexts`, and only it, and compare the networks' digests.

    A choice whose options all differ is settled after one context; others are tried in up to `CONTEXTS`. Raises
    PlanError for an option that fits together with nothing.
    """
    return [
        a
        for path, places in _places(contexts).items()
        for a in _alike_at(drawer, path, places, rng)
    ]


def _places(contexts: Sequence[Drawn]) -> dict[str, list[Drawn]]:
    """Return some of the contexts in which each path comes up."""
    places: dict[str, list[Drawn]] = {}
    for drawn in contexts:
        for path in drawn.decisions:
            at = places.setdefault(path, [])
            if len(at) < TRIED:
                at.append(drawn)
    return places


def _alike_at(drawer: Drawer, path: str, places: Sequence[Drawn], rng: Random) -> Iterator[Alike]:
    names = places[0].decisions[path].options
    digests = _digests(drawer, path, places, rng)
    never = [name for name, seen in zip(names, digests, strict=True) if not any(seen)]
    if never:
        raise PlanError(
            f"{path}: {never[0]} does not fit into any of {len(places)} architectures: {drawer.broken[-1]}"
        )
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, seen in zip(names, digests, strict=True):
        groups.setdefault(seen, []).append(name)
    for group in groups.values():
        if len(group) > 1:
            where = drawer.space.where(path)
            yield Alike(path, tuple(group), len(group) == len(names), str(where or ""))


def _digests(
    drawer: Drawer, path: str, places: Sequence[Drawn], rng: Random
) -> list[tuple[str, ...]]:
    """Return what each option makes of the contexts: digests of networks, "" where the plan does not fit."""
    options = range(len(places[0].decisions[path].options))
    seen: list[tuple[str, ...]] = [() for _ in options]
    for number, drawn in enumerate(places):
        fits = all(any(s) for s in seen)
        if number and fits and (len(set(seen)) == len(seen) or number >= CONTEXTS):
            break
        flips = [drawer.flipped(drawn, path, i, at_random(rng)) for i in options]
        seen = [(*s, f.counted.digest if f else "") for s, f in zip(seen, flips, strict=True)]
    return seen
