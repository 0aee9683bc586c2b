"""Choosers: functions `(path, options) -> index` that close a space. A strategy is one of these in a line or two.

`options` holds one label per option: the kind's name where options are named, scalars as they are (numbers as
numbers), and anything larger as compact text; labels of one path are distinct and always the same.
`is_ordered(options)` says whether they are numbers in increasing order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from nas.errors import SpaceError, suggest
from nas.language.closing import Chooser
from nas.language.counting import Counting
from nas.language.cover import cover
from nas.language.tree import Template, is_ordered, once

__all__ = [
    "Chooser",
    "at",
    "cover",
    "crossover",
    "is_ordered",
    "largest",
    "mutate",
    "random_chooser",
    "record",
    "replay",
    "smallest",
]

Decisions = Mapping[str, int]


def smallest(_path: str, _options: Sequence[Any]) -> int:
    """Take the first option: where options are ordered small to large, the smallest network."""
    return 0


def largest(_path: str, options: Sequence[Any]) -> int:
    """Take the last option."""
    return len(options) - 1


def random_chooser(rng: Random) -> Chooser:
    """Take any option with equal chance, each question by itself."""
    return lambda _path, options: rng.randrange(len(options))


def replay(decisions: Decisions) -> Chooser:
    """Take what was decided before; raises SpaceError for a question that was not."""

    def choose(path: str, _options: Sequence[Any]) -> int:
        if path not in decisions:
            raise SpaceError(
                f"{path}: no decision was recorded for this question; {suggest(path, decisions)}"
            )
        return decisions[path]

    return choose


def record(choose: Chooser, into: dict[str, int]) -> Chooser:
    """Do what `choose` does, and note the decisions in `into`."""

    def noted(path: str, options: Sequence[Any]) -> int | None:
        index = choose(path, options)
        if index is not None:
            into[path] = index
        return index

    return noted


def mutate(rng: Random, decisions: Decisions, *paths: str) -> Chooser:
    """Change the decisions at `paths` (default: one at random), keep the others, decide new questions at random.

    Raises SpaceError for a path that `decisions` does not hold.
    """
    for path in paths:
        if path not in decisions:
            raise SpaceError(
                f"{path}: not among the decisions to mutate; {suggest(path, decisions)}"
            )
    changed = set(paths or ([rng.choice(list(decisions))] if decisions else []))

    def choose(path: str, options: Sequence[Any]) -> int:
        if path in changed:
            return (decisions[path] + 1 + rng.randrange(len(options) - 1)) % len(options)
        return decisions[path] if path in decisions else rng.randrange(len(options))

    return choose


def crossover(rng: Random, a: Decisions, b: Decisions) -> Chooser:
    """Take each decision from either parent with equal chance; questions that neither met are decided at random."""

    def choose(path: str, options: Sequence[Any]) -> int:
        parents = [p[path] for p in (a, b) if path in p]
        return rng.choice(parents) if parents else rng.randrange(len(options))

    return choose


def at(space: Template, position: int) -> Chooser:
    """Take the decisions of the architecture at `position` in the order of enumeration: 0 to `space.size() - 1`.

    With a uniform random position this draws architectures, not options, with equal chance.
    """
    return replay(once(space, Counting).at(position))
