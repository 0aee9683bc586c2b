"""The open nodes of a search space: what a tree of plain data may hold until a chooser closes it.

Closed data is dicts, lists, strings, numbers, booleans and None. A question that has one answer only is never asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Any, TypeVar

T = TypeVar("T")
EARLIER = "earlier"
OUTSIDE = -1  # the turn of what stands in no repeat


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `options`. Named options are kinds with their fields and close to `{name: fields}`.

    `path` is set on a node that a chooser left open; `labels` is what choosers see: names, scalars as they are,
    anything larger as text in the file's notation.
    """

    options: tuple[Any, ...]
    names: tuple[str, ...] | None = None
    path: str = field(default="", compare=False)
    labels: tuple[Any, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", self.names or tuple(_label(o) for o in self.options))


@dataclass(frozen=True, slots=True)
class Use:
    """The decision that `let` calls `name`: the same in every place that uses it."""

    name: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """A list of `count` items, each decided by itself; `count` is a whole number, a choice of them, or a use of one."""

    count: int | Choice | Use
    item: Any
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Walk:
    """A list of `steps` strides: from `start`, each step goes to one of `moves[current stride]`."""

    steps: int
    start: int
    moves: Mapping[int, tuple[int, ...]]
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Pick:
    """`count` different sources in the order of `sources`, each with an operation: a list of `{source, op}`.

    The source `earlier` stands for the items before this one in the surrounding repeat: item0, item1, ...
    `ops` is set on a node that a chooser left open: the operation of each source.
    """

    count: int
    sources: tuple[str, ...]
    of: Any
    path: str = field(default="", compare=False)
    ops: Mapping[str, Any] | None = None

    def op(self, source: str) -> Any:
        """Return the operation, open or closed, that `source` gets."""
        return self.of if self.ops is None else self.ops[source]

    def ways(self, turn: int) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
        """Return all combinations of sources in the `turn`-th item of the surrounding repeat, and their labels."""
        return _combinations(self.expanded(turn), self.count)

    def expanded(self, turn: int) -> tuple[str, ...]:
        """Return the sources with `earlier` written out."""
        if EARLIER not in self.sources:
            return self.sources
        names: list[str] = []
        for source in self.sources:
            names += [f"item{i}" for i in range(turn)] if source == EARLIER else [source]
        return tuple(names)


OPEN = (Choice, Use, Repeat, Walk, Pick)


@dataclass(frozen=True)
class Template:
    """A tree with open nodes, and the trees that it uses by name."""

    tree: Any
    lets: Mapping[str, Any] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {
            k: v for k, v in self.__dict__.items() if k != "_kept"
        }  # it goes by the identity of nodes


def once(template: Template, make: Callable[[Template], T]) -> T:
    """Return `make(template)`, made the first time and kept with the template."""
    kept: dict[Any, T] = template.__dict__.setdefault("_kept", {})
    if make not in kept:
        kept[make] = make(template)
    return kept[make]


def counts(repeat: Repeat, lets: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the counts that a repeat may have, in the order of their options."""
    count = followed(repeat.count, lets)
    return count.options if isinstance(count, Choice) else (count,)


def followed(node: Any, lets: Mapping[str, Any]) -> Any:
    """Return what `node` stands for once uses of lets are followed."""
    while isinstance(node, Use):
        node = lets[node.name]
    return node


def target(use: Use, lets: Mapping[str, Any]) -> str:
    """Return the name of the let that a chain of uses ends in."""
    while isinstance(inner := lets[use.name], Use):
        use = inner
    return use.name


def is_open(tree: Any) -> bool:
    """Return whether anything in `tree` is an open node."""
    if isinstance(tree, dict):
        return any(is_open(v) for v in tree.values())
    if isinstance(tree, list):
        return any(is_open(v) for v in tree)
    return isinstance(tree, OPEN)


def under(path: str, name: str) -> str:
    """Return the path of the field or option `name` below `path`."""
    return f"{path}.{name}" if path else name


def branch_path(choice: Choice, path: str, index: int) -> str:
    """Return the path of what stands in option `index` of the choice at `path`."""
    if choice.names is None:
        return f"{path}:{index}"
    return f"{path}.{choice.names[index]}" if path else choice.names[index]


def plain(tree: Any) -> Any:
    """Return `tree` as the file's notation has it: open nodes as mappings of the five words."""
    match tree:
        case dict():
            return {k: plain(v) for k, v in tree.items()}
        case list() | tuple():
            return [plain(v) for v in tree]
        case Choice(options, None):
            return {"choice": [plain(o) for o in options]}
        case Choice(options, names):
            return {"choice": {n: plain(o) for n, o in zip(names or (), options, strict=True)}}
        case Use(name):
            return {"use": name}
        case Repeat(count, item):
            return {"repeat": plain(count), "of": plain(item)}
        case Walk(steps, start, moves):
            return {"walk": steps, "from": start, "moves": {k: list(v) for k, v in moves.items()}}
        case Pick():
            return {"pick": tree.count, "from": list(tree.sources), "of": plain(tree.of)}
    return tree


def is_ordered(options: Sequence[Any]) -> bool:
    """Return whether options are numbers in increasing order: a sampler may then treat the index as a number."""
    numbers = all(isinstance(o, int | float) and not isinstance(o, bool) for o in options)
    return numbers and all(a < b for a, b in pairwise(options))


def nodes(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every open node with its place in the file: `[]` is any item of a repeat, `.*` any source of a pick."""
    if isinstance(tree, OPEN):
        yield path, tree
    match tree:
        case dict():
            for key, value in tree.items():
                yield from nodes(value, under(path, key))
        case list():
            for i, value in enumerate(tree):
                yield from nodes(value, f"{path}[{i}]")
        case Choice(options):
            for i, option in enumerate(options):
                yield from nodes(option, branch_path(tree, path, i))
        case Repeat(count, item):
            yield from nodes(count, f"{path}.repeat")
            yield from nodes(item, f"{path}[]")
        case Pick():
            for op in (tree.of, *(tree.ops or {}).values()):
                yield from nodes(op, f"{path}.*")


def uses(tree: Any) -> set[str]:
    """Return the names of the lets that `tree` uses itself."""
    return {node.name for _, node in nodes(tree) if isinstance(node, Use)}


@lru_cache(maxsize=4096)
def _combinations(
    sources: tuple[str, ...], count: int
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    ways = tuple(combinations(sources, count))
    return ways, tuple("+".join(way) for way in ways)


def _label(option: Any) -> Any:
    """Return an option as choosers see it: scalars as they are, the rest as compact text."""
    if option is None or isinstance(option, bool | int | float | str):
        return option
    return json.dumps(plain(option), ensure_ascii=False).replace('"', "")
