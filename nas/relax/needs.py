"""When something is needed: a set of conditions on the answers of questions, and how likely one of them holds.

A condition is a set of (question, option) pairs that must all be; something is needed where one of its conditions
holds.
Questions are independent of each other, options of one exclude each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from torch import Tensor

from nas.relax.gates import Gate
from nas.relax.network import Weights

Chance = float | Tensor
Condition = frozenset[tuple[str, int]]
Need = frozenset[Condition]

ALWAYS: Need = frozenset({frozenset()})
NEVER: Need = frozenset()
MOST = 24
"""Conditions of one need; more are replaced by one event of the same chance, taken as independent of all else."""


class Needs:
    """Joins needs and computes their chances at given weights; a weight that is the number 0 or 1 is no question."""

    def __init__(self, weights: Weights) -> None:
        self._weights: dict[str, Mapping[int, Chance]] = {
            p: dict(enumerate(w)) for p, w in weights.items()
        }
        self._chances: dict[Need, Chance] = {}
        self._events: dict[Need, Need] = {}

    def gate(self, gate: Gate) -> Need:
        """Return when a gate is open."""
        chances = [(path, i, self._weights[path][i]) for path, i in gate]
        if any(is_number(c, 0) for *_, c in chances):
            return NEVER
        return frozenset({frozenset((path, i) for path, i, c in chances if not is_number(c, 1))})

    def either(self, needs: Iterable[Need]) -> Need:
        """Return when any of several is needed."""
        return self._small(frozenset().union(*map(self._small, set(needs))))

    def both(self, a: Need, b: Need) -> Need:
        """Return when both are."""
        if a == ALWAYS or b == NEVER:
            return b
        if b == ALWAYS or a == NEVER:
            return a
        if len(a) * len(b) > MOST:
            a, b = (self._event(need) if len(need) > 1 else need for need in (a, b))
        pairs = (x | y for x in a for y in b)
        return self._small(frozenset(c for c in pairs if len({path for path, _ in c}) == len(c)))

    def chance(self, need: Need) -> Chance:
        """Return how likely it is: question by question, given each of its options."""
        if need not in self._chances:
            self._chances[need] = self._expand(need)
        return self._chances[need]

    def _expand(self, need: Need) -> Chance:
        if not need or frozenset() in need:
            return 1.0 if need else 0.0
        path = min(path for condition in need for path, _ in condition)
        asked = {i for condition in need for p, i in condition if p == path}
        total: Chance = 0.0
        others: Chance = 1.0
        for index in sorted(asked):
            weight = self._weights[path][index]
            others = others - weight
            total = total + times(weight, self.chance(_given(need, path, index)))
        rest = frozenset(c for c in need if all(p != path for p, _ in c))
        return total + times(others, self.chance(rest)) if rest else total

    def _small(self, need: Need) -> Need:
        need = self._settled(need)
        return need if len(need) <= MOST else self._event(need)

    def _settled(self, need: Need) -> Need:
        """Return the same without conditions that others imply, and without questions whose every option will do."""
        while True:
            if frozenset() in need:
                return ALWAYS
            need = frozenset(c for c in need if not any(other < c for other in need))
            by_rest: dict[tuple[str, Condition], set[int]] = defaultdict(set)
            for condition in need:
                for path, index in condition:
                    by_rest[path, condition - {(path, index)}].add(index)
            whole = {
                rest for (path, rest), found in by_rest.items() if len(found) == self._options(path)
            }
            if not whole:
                return need
            need = need | whole

    def _options(self, path: str) -> int:
        return sum(not is_number(weight, 0) for weight in self._weights[path].values())

    def _event(self, need: Need) -> Need:
        """Return an event of its own with the chance of `need`: the same one whenever it is asked for."""
        if need not in self._events:
            path, chance = f"#{len(self._weights)}", self.chance(need)
            self._weights[path] = {0: chance, 1: 1 - chance}
            self._events[need] = frozenset({frozenset({(path, 0)})})
        return self._events[need]


def _given(need: Need, path: str, index: int) -> Need:
    """Return what is left of a need where a question has this answer."""
    left = (
        condition - {(path, index)}
        for condition in need
        if all(p != path or i == index for p, i in condition)
    )
    return frozenset(left)


def is_number(chance: Chance, number: float) -> bool:
    """Return whether a chance is just this number, and no tensor."""
    return not isinstance(chance, Tensor) and chance == number


def times(a: Chance, b: Chance) -> Chance:
    """Return the product; nothing is computed for a factor of 1."""
    if is_number(a, 1):
        return b
    return a if is_number(b, 1) else a * b
