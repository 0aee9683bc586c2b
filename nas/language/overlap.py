"""Whether two open trees can close to the same data: options must not, or decisions could not be read back."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from nas.language.tree import OUTSIDE, Choice, Pick, Repeat, Use, Walk, counts

Lets = Mapping[str, Any]


def overlapping(choice: Choice, lets: Lets) -> tuple[int, int] | None:
    """Return two options that can close to the same data, or None. It errs towards finding some."""
    if choice.names is not None:
        return None
    first: dict[tuple[bool, Any], int] = {}
    rest: list[int] = []
    for i, option in enumerate(choice.options):
        if not isinstance(option, str | int | float | None):
            rest.append(i)
            continue
        key = (isinstance(option, bool), option)
        if key in first:
            return first[key], i
        first[key] = i
    pairs = [*combinations(rest, 2), *((i, j) for i in first.values() for j in rest)]
    return next(
        (p for p in pairs if overlap(choice.options[p[0]], choice.options[p[1]], lets)), None
    )


def overlap(a: Any, b: Any, lets: Lets) -> bool:
    """Return whether open trees `a` and `b` can close to the same data, whatever the lets are decided to be."""
    if isinstance(a, Use):
        return overlap(lets[a.name], b, lets)
    if isinstance(a, Choice):
        return any(overlap(branch, b, lets) for branch in branches(a))
    if isinstance(b, Use | Choice):
        return overlap(b, a, lets)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(overlap(a[k], b[k], lets) for k in a)
    if _is_list(a) and _is_list(b):
        return any(
            _same_items(_items(a, n), _items(b, n), lets)
            for n in _lengths(a, lets) & _lengths(b, lets)
        )
    return (type(a) is type(b) and bool(a == b)) or _equal_numbers(a, b)


def branches(choice: Choice) -> tuple[Any, ...]:
    """Return the options as they close: named ones as `{name: fields}`."""
    if choice.names is None:
        return choice.options
    return tuple({n: o} for n, o in zip(choice.names, choice.options, strict=True))


def _equal_numbers(a: Any, b: Any) -> bool:
    both = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    return both and a == b


def _is_list(node: Any) -> bool:
    return isinstance(node, list | Repeat | Walk | Pick)


def _lengths(node: Any, lets: Lets) -> set[int]:
    match node:
        case Repeat():
            return set(counts(node, lets))
        case Walk(steps):
            return {steps}
        case Pick():
            return {node.count}
    return {len(node)}


def _items(node: Any, length: int) -> list[Any]:
    """Return what may stand at each of `length` places."""
    match node:
        case Repeat(_, item):
            return [item] * length
        case Walk(_, _, moves):
            return [Choice(tuple(moves))] * length
        case Pick():
            names = {s for turn in (OUTSIDE, 50) for s in node.expanded(turn)}
            return [{"source": Choice(tuple(sorted(names))), "op": node.of}] * length
    return list(node)


def _same_items(a: list[Any], b: list[Any], lets: Lets) -> bool:
    return all(overlap(x, y, lets) for x, y in zip(a, b, strict=True))
