"""A few architectures that together take every option of a space: for a pre-flight, or for sizing a supernet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from typing import Any

from nas.language.closing import Closing
from nas.language.questions import Part, Question, expand
from nas.language.tree import OUTSIDE, Choice, Repeat, Template, Use, followed, nodes, target

Taken = set[tuple[str, int]]


def cover(space: Template) -> list[dict[str, int]]:
    """Return decisions such that each reachable option is taken by some; where none is left to take, the last one.

    Greedy: each takes as many options as possible that none before it took.
    """
    taken: Taken = set()
    rows: list[dict[str, int]] = []
    known: dict[Any, Question | tuple[Part, ...]] = {}
    for forced in _assignments(space):
        while True:
            row = _row(space, _Gains(space.lets, taken, forced, known))
            if taken.issuperset(row.items()):
                break
            rows.append(row)
            taken |= set(row.items())
    return rows or [{}]


def _assignments(space: Template) -> Iterator[dict[str, int]]:
    """Yield every way to decide the lets that are counts of repeats, since their options exclude parts elsewhere.

    The first ones take every option of each of these lets, the last options first of all.
    """
    trees = [space.tree, *space.lets.values()]
    repeats = [n for tree in trees for _, n in nodes(tree) if isinstance(n, Repeat)]
    names = sorted({target(n.count, space.lets) for n in repeats if isinstance(n.count, Use)})
    trees = [followed(Use(name), space.lets) for name in names]
    ends = [len(tree.options) - 1 if isinstance(tree, Choice) else 0 for tree in trees]
    aligned = ([max(end - i, 0) for end in ends] for i in range(max(ends, default=0) + 1))
    for indices in chain(aligned, product(*(range(end, -1, -1) for end in ends))):
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
    expanded: dict[Any, Question | tuple[Part, ...]]  # shared by all passes over one space
    best: dict[str, int] = field(default_factory=dict)
    known: dict[Any, int] = field(default_factory=dict)

    def of(self, part: Part) -> int:
        """Return the gain of a part, finding the best options on the way."""
        key = part.key
        if key not in self.known:
            if key not in self.expanded:
                self.expanded[key] = expand(part, self.lets)
            found = self.expanded[key]
            self.known[key] = (
                self._question(found) if isinstance(found, Question) else sum(map(self.of, found))
            )
        return self.known[key]

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
