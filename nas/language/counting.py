"""How many closed trees a space has, exactly, and which is the n-th; lets count once, and only where they are used.

The number of ways to close a tree depends on which lets it uses, so a count is kept as terms: for each set of lets that
a closing uses, the number of closings without the lets' own ways. A repeat whose count is a let fixes that let to an
option.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from graphlib import TopologicalSorter
from typing import Any

from nas.errors import SpaceError
from nas.language.questions import Part, Question, Step, count_path, expand
from nas.language.tree import OPEN, Repeat, Template, Use, Walk, uses

ANY = -1
Key = frozenset[tuple[str, int]]  # lets that are used: (name, option or ANY)
Terms = Mapping[Key, int]
NOTHING: Key = frozenset()
ONE: Terms = {NOTHING: 1}


@dataclass(frozen=True, slots=True)
class _Agenda:
    """Parts that are still to be decided, first one first, with the terms of all of them together."""

    part: Part
    rest: _Agenda | None
    terms: Terms


@dataclass(slots=True)
class Counting:
    """Counts of one template, remembered by the identity of its nodes, which the template keeps alive."""

    template: Template
    _known: dict[tuple[int, int], Terms] = field(default_factory=dict)
    _sorted: list[str] = field(default_factory=list)
    _walks: dict[int, list[dict[int, int]]] = field(default_factory=dict)

    def size(self) -> int:
        """Return the number of distinct closed trees."""
        return self._total(self.terms(Part(self.template.tree)), {})

    def at(self, position: int) -> dict[str, int]:
        """Return the decisions of the closed tree at `position`, from 0, in the order of enumeration."""
        size = self.size()
        if not 0 <= position < size:
            raise SpaceError(
                f"position {position:,} in a space of {size:,} architectures; expected 0 to {size - 1:,}"
            )
        made: dict[str, int] = {}
        fixed: dict[str, int] = {}
        agenda = self._push(None, [Part(self.template.tree)])
        while agenda is not None:
            part, agenda = agenda.part, agenda.rest
            found = self._next(part, fixed)
            if isinstance(found, Question) and found.path not in made:
                index, position = self._option(found, agenda, fixed, position)
                made[found.path] = index
            branch = found.branches[made[found.path]] if isinstance(found, Question) else found
            agenda = self._push(agenda, branch)
        return made

    def terms(self, part: Part) -> Terms:
        """Return the number of ways to close a part, by the lets that they use."""
        node = part.node
        if not isinstance(node, (dict, list, Step, *OPEN)):
            return ONE
        if isinstance(node, Step):
            return {NOTHING: self._paths(node.walk)[node.walk.steps - node.step][node.stride]}
        key = (id(node), part.turn)
        if key not in self._known:
            self._known[key] = self._count(part)
        return self._known[key]

    def _count(self, part: Part) -> Terms:
        node = part.node
        if isinstance(node, Use):
            return {frozenset({(node.name, ANY)}): 1}
        found = expand(part, self.template.lets)
        if isinstance(found, Question):
            lets = [
                frozenset({(self._let_of(node), i)}) if self._let_of(node) else NOTHING
                for i in range(len(found.branches))
            ]
            return _sum(
                _product([{let: 1}, self._all(b)])
                for let, b in zip(lets, found.branches, strict=True)
            )
        return self._all(found)

    def _all(self, parts: Iterable[Part]) -> Terms:
        return _product(self.terms(p) for p in parts)

    def _let_of(self, node: Any) -> str:
        """Return the let that decides the count of a repeat, or ""."""
        if not isinstance(node, Repeat) or not isinstance(node.count, Use):
            return ""
        return count_path(node, "", self.template.lets).removeprefix("let.")

    def _paths(self, walk: Walk) -> list[dict[int, int]]:
        """Return, for every number of steps still to go, the number of paths from each stride."""
        if id(walk) not in self._walks:
            paths = [dict.fromkeys(walk.moves, 1)]
            for _ in range(walk.steps):
                paths.append(
                    {at: sum(paths[-1][to] for to in options) for at, options in walk.moves.items()}
                )
            self._walks[id(walk)] = paths
        return self._walks[id(walk)]

    def _total(self, terms: Terms, fixed: Mapping[str, int]) -> int:
        """Return the number of closings, given the lets that are decided already (with their option, or ANY)."""
        left = _without(terms, fixed)
        for name in self._order:
            if name in fixed or all(name not in dict(key) for key in left):
                continue
            out: dict[Key, int] = {}
            for key, ways in left.items():
                option = dict(key).get(name)
                own = ONE if option is None else _without(self._let_terms(name, option), fixed)
                _add(out, _times({frozenset(k for k in key if k[0] != name): ways}, own))
            left = out
        return sum(left.values())

    def _let_terms(self, name: str, option: int) -> Terms:
        return self.terms(Part(self.template.lets[name], f"let.{name}")) if option == ANY else ONE

    @property
    def _order(self) -> list[str]:
        """The lets, each before those that it uses."""
        if len(self._sorted) < len(self.template.lets):
            graph = {name: uses(tree) for name, tree in self.template.lets.items()}
            self._sorted[:] = reversed(tuple(TopologicalSorter(graph).static_order()))
        return self._sorted

    def _next(self, part: Part, fixed: dict[str, int]) -> Question | tuple[Part, ...]:
        """Return what comes next at a part; a let counts as decided from its first use on."""
        if isinstance(part.node, Use):
            if part.node.name in fixed:
                return ()
            fixed[part.node.name] = ANY
        return expand(part, self.template.lets)

    def _option(
        self, question: Question, rest: _Agenda | None, fixed: dict[str, int], position: int
    ) -> tuple[int, int]:
        """Return the option in which `position` lies, and the position within that option; notes a let's option."""
        after = ONE if rest is None else rest.terms
        name = question.path.removeprefix("let.")
        is_let = question.path != name and name in self.template.lets
        for index, branch in enumerate(question.branches):
            if is_let:
                fixed[name] = index
            ways = self._total(_product([self._all(branch), after]), fixed)
            if position < ways:
                return index, position
            position -= ways
        raise AssertionError(f"{question.path}: counted fewer ways than there are")

    def _push(self, agenda: _Agenda | None, parts: Iterable[Part]) -> _Agenda | None:
        for part in reversed(tuple(parts)):
            terms = (
                self.terms(part) if agenda is None else _product([self.terms(part), agenda.terms])
            )
            agenda = _Agenda(part, agenda, terms)
        return agenda


def _product(factors: Iterable[Terms]) -> Terms:
    return reduce(_times, factors, ONE)


def _times(a: Terms, b: Terms) -> Terms:
    if a is ONE or b is ONE:
        return b if a is ONE else a
    out: dict[Key, int] = {}
    for x, m in a.items():
        for y, n in b.items():
            key = _union(x, y)
            if key is not None:
                out[key] = out.get(key, 0) + m * n
    return out


def _sum(terms: Iterable[Terms]) -> Terms:
    out: dict[Key, int] = {}
    for part in terms:
        _add(out, part)
    return out


def _add(out: dict[Key, int], terms: Terms) -> None:
    for key, ways in terms.items():
        out[key] = out.get(key, 0) + ways


def _without(terms: Terms, fixed: Mapping[str, int]) -> Terms:
    """Return the terms that agree with the lets decided already, which they then name no more."""
    out: dict[Key, int] = {}
    for key, ways in terms.items():
        if all(option in (ANY, fixed.get(name, option)) for name, option in key):
            left = frozenset(k for k in key if k[0] not in fixed)
            out[left] = out.get(left, 0) + ways
    return out


def _union(a: Key, b: Key) -> Key | None:
    """Return the lets of both, or None where they fix one let to different options."""
    if not a or not b or a == b:
        return a or b
    both = a | b
    fixed = {name: option for name, option in both if option != ANY}
    if any(option not in (ANY, fixed.get(name, ANY)) for name, option in both):
        return None
    return frozenset((name, option) for name, option in both if option != ANY or name not in fixed)
