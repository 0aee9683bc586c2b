"""A few architectures that together take every option of a space: for a pre-flight, or for sizing a supernet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from nas.closing import Closing
from nas.questions import Part, Question, expand
from nas.tree import OUTSIDE, Choice, Repeat, Template, Use, followed, nodes, target

Taken = set[tuple[str, int]]


def cover(space: Template) -> list[dict[str, int]]:
    """Return decisions such that each reachable option is taken by some; where none is left to take, the last one.

    Greedy: each takes as many options as possible that none before it took.
    """
    taken: Taken = set()
    rows: list[dict[str, int]] = []
    while row := _best_row(space, taken):
        taken |= set(row.items())
        rows.append(row)
    return rows or [{}]


def _best_row(space: Template, taken: Taken) -> dict[str, int] | None:
    """Return the decisions that take most new options, or None if there are none."""
    best: dict[str, int] | None = None
    most = 0
    for forced in _assignments(space):
        row = _row(space, _Gains(space.lets, taken, forced))
        new = len(set(row.items()) - taken)
        if new > most:
            best, most = row, new
    return best


def _assignments(space: Template) -> Iterator[dict[str, int]]:
    """Yield every way to decide the lets that are counts of repeats: their options exclude parts elsewhere."""
    trees = [space.tree, *space.lets.values()]
    found = [
        n
        for tree in trees
        for _, n in nodes(tree)
        if isinstance(n, Repeat) and isinstance(n.count, Use)
    ]
    names = sorted({target(n.count, space.lets) for n in found if isinstance(n.count, Use)})
    sizes = [
        len(node.options) if isinstance(node := followed(Use(n), space.lets), Choice) else 1
        for n in names
    ]
    for indices in product(*(range(n - 1, -1, -1) for n in sizes)):
        yield {f"let.{name}": i for name, i in zip(names, indices, strict=True)}


def _row(space: Template, gains: _Gains) -> dict[str, int]:
    gains.of(Part(space.tree))
    row: dict[str, int] = {}

    def choose(path: str, options: Sequence[Any]) -> int:
        return row.setdefault(path, gains.best.get(path, len(options) - 1))

    Closing(choose, space.lets).close(space.tree, "", OUTSIDE)
    return row


@dataclass(slots=True)
class _Gains:
    """How many options not yet taken the best way through a part takes; `best` is what to take at each question."""

    lets: Mapping[str, Any]
    taken: Taken
    forced: Mapping[str, int]
    best: dict[str, int] = field(default_factory=dict)
    known: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def of(self, part: Part) -> int:
        """Return the gain of a part, finding the best options on the way."""
        if part.key not in self.known:
            found = expand(part, self.lets)
            self.known[part.key] = (
                self._question(found) if isinstance(found, Question) else sum(map(self.of, found))
            )
        return self.known[part.key]

    def _question(self, question: Question) -> int:
        path = question.path
        forced = self.forced.get(path)
        gains = [
            -1
            if forced not in (None, i)
            else ((path, i) not in self.taken) + sum(map(self.of, branch))
            for i, branch in enumerate(question.branches)
        ]
        most = max(gains)
        self.best[path] = max(i for i, gain in enumerate(gains) if gain == most)
        return most
