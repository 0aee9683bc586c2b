"""The rules that hold between parts of a space: lets are used, counts are numbers, options differ, sizes are sane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from math import comb
from typing import Any

from nas.language.document import Value
from nas.language.overlap import overlapping
from nas.language.parse import MOST_ITEMS, MOST_OPTIONS
from nas.language.places import Places, Problems, brief
from nas.language.tree import (
    EARLIER,
    Choice,
    Pick,
    Repeat,
    Template,
    Use,
    Walk,
    counts,
    followed,
    nodes,
    plain,
    uses,
)

MOST_CLOSED = 100_000
MOST_DEEP = 100
Extent = tuple[int, int]  # (values, levels)


def check_rules(template: Template, root: Value, places: Places) -> None:
    """Check a template read from `root`; raises SpaceError with up to ten errors of one rule."""
    rules = _Rules(template, root, places, Problems())
    order = rules.lets()
    rules.problems.raise_any()
    rules.counts()
    rules.problems.raise_any()
    rules.picks()
    rules.size(order)
    rules.problems.raise_any()
    check_overlaps(template, places, rules.problems)
    rules.problems.raise_any()


def check_overlaps(template: Template, places: Places, problems: Problems, why: str = "") -> None:
    """Report choices two of whose options can close to the same data."""
    for path, node in _all_nodes(template):
        if isinstance(node, Choice) and (pair := overlapping(node, template.lets)):
            i, j = pair
            same = brief(plain(node.options[j]))
            problems.add(
                places.find(f"{path}:{j}"),
                path,
                f"options {i + 1} and {j + 1} can both become {same}{why}; remove one",
            )


def reached(template: Template) -> set[str]:
    """Return the lets that the tree uses, itself or by way of other lets."""
    known: set[str] = set()
    fresh = uses(template.tree)
    while fresh:
        known |= fresh
        fresh = {n for name in fresh for n in uses(template.lets[name])} - known
    return known


def _all_nodes(template: Template) -> list[tuple[str, Any]]:
    """Return every open node of the tree and of the lets, with its template path."""
    found = list(nodes(template.tree))
    for name, tree in template.lets.items():
        found += nodes(tree, f"let.{name}")
    return found


@dataclass(slots=True)
class _Rules:
    template: Template
    root: Value
    places: Places
    problems: Problems

    def fail(self, path: str, text: str) -> None:
        self.problems.add(self.places.find(path), path, text)

    def lets(self) -> list[str]:
        """Check that every let of this file is used, and none by itself; return them, used ones first."""
        lets = self.template.lets
        try:
            order = list(TopologicalSorter({n: uses(t) for n, t in lets.items()}).static_order())
        except CycleError as error:
            cycle: list[str] = error.args[1]
            self.fail(f"let.{cycle[0]}", f"a let that uses itself: {' -> '.join(cycle)}")
            return []
        unused = lets.keys() - reached(self.template)
        for name in [n for n in lets if n in unused]:
            place = self.places.key(f"let.{name}")
            if place is None or place.file == self.root.where.file:
                text = f"{name!r} is never used; write {{use: {name}}} somewhere, or remove it"
                self.problems.add(place, f"let.{name}", text)
        return order

    def counts(self) -> None:
        """Check that repeats are counted in whole numbers, also where a let does."""
        for path, node in _all_nodes(self.template):
            if isinstance(node, Repeat):
                count = followed(node.count, self.template.lets)
                named = isinstance(count, Choice) and count.names
                if named or not all(
                    map(_is_count, count.options if isinstance(count, Choice) else (count,))
                ):
                    text = f"expected whole numbers from 0 to {MOST_ITEMS:,}, got {brief(plain(count))}"
                    self.fail(f"{path}.repeat", text)

    def picks(self) -> None:
        """Check that the combinations of no pick are too many."""
        for path, node in _all_nodes(self.template):
            if isinstance(node, Repeat):
                last = max(counts(node, self.template.lets)) - 1
                for below, pick in nodes(node.item, f"{path}[]"):
                    self._pick(pick, below, last)
            else:
                self._pick(node, path, 0)

    def size(self, order: list[str]) -> None:
        """Check that no architecture of the space is too large; `order` is of lets, used ones first."""
        lets = self.template.lets
        known: dict[str, Extent] = {}
        for name in order:
            known[name] = _extent(lets[name], lets, known)
        values, levels = _extent(self.template.tree, lets, known)
        if values > MOST_CLOSED:
            text = f"one architecture of this space may hold {values:,} values; at most {MOST_CLOSED:,}: repeat less"
            self.fail("", text)
        if levels > MOST_DEEP:
            self.fail("", f"lets inside lets nest {levels} levels deep; at most {MOST_DEEP}")

    def _pick(self, node: Any, path: str, last: int) -> None:
        if not isinstance(node, Pick):
            return
        sources = len(node.sources) + (last - 1 if EARLIER in node.sources else 0)
        if comb(max(sources, 0), node.count) > MOST_OPTIONS:
            text = f"more than {MOST_OPTIONS:,} ways to pick {node.count} from {sources} sources; expected fewer"
            self.fail(path, text)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_ITEMS


def _extent(tree: Any, lets: Mapping[str, Any], known: Mapping[str, Extent]) -> Extent:
    """Return (values, levels) of the largest and of the deepest data that `tree` can close to."""
    match tree:
        case Use(name):
            return known[name]
        case dict() | list():
            parts = tree.values() if isinstance(tree, dict) else tree
            inner = [_extent(v, lets, known) for v in parts]
            return 1 + sum(v for v, _ in inner), 1 + max((d for _, d in inner), default=0)
        case Choice(options):
            inner = [_extent(o, lets, known) for o in options]
            return 1 + max(v for v, _ in inner), 1 + max(d for _, d in inner)
        case Repeat(_, item):
            values, levels = _extent(item, lets, known)
            return 1 + max(counts(tree, lets)) * values, 1 + levels
        case Walk(steps):
            return 1 + steps, 2
        case Pick():
            values, levels = _extent(tree.of, lets, known)
            return 1 + tree.count * (2 + values), 2 + levels
    return 1, 1
