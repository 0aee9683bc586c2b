"""Closing a tree: the one pass that asks a chooser about every open node it comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nas.errors import SpaceError
from nas.language.tree import (
    OUTSIDE,
    Choice,
    Pick,
    Repeat,
    Use,
    Walk,
    branch_path,
    followed,
    is_open,
    target,
    uses,
)

Chooser = Callable[[str, Sequence[Any]], int | None]


@dataclass(slots=True)
class Closing:
    """The pass. `made` remembers answers by path, since a let may be reached many times."""

    choose: Chooser
    lets: Mapping[str, Any]
    made: dict[str, int | None] = field(default_factory=dict)
    open_lets: dict[str, Any] = field(default_factory=dict)
    left_open: bool = False

    def close(self, tree: Any, path: str, turn: int) -> Any:
        """Return `tree` closed; `turn` is the index in the surrounding repeat."""
        close = _CLOSE.get(type(tree))
        return tree if close is None else close(self, tree, path, turn)

    def ask(self, path: str, options: Sequence[Any]) -> int | None:
        """Return the index for the question at `path`, or None to leave it open."""
        if len(options) == 1:
            return 0
        if path in self.made:
            return self.made[path]
        index = self.choose(path, options)
        if index is None:
            self.left_open = True
        elif not 0 <= index < len(options):
            raise SpaceError(
                f"{path}: option {index} of {len(options)}; known: 0 to {len(options) - 1} for {list(options)}"
            )
        self.made[path] = index
        return index

    def mapping(self, tree: dict[str, Any], path: str, turn: int) -> dict[str, Any]:
        prefix = f"{path}." if path else ""
        out = {}
        for key, value in tree.items():
            close = _CLOSE.get(type(value))
            out[key] = value if close is None else close(self, value, prefix + key, turn)
        return out

    def sequence(self, tree: list[Any], path: str, turn: int) -> list[Any]:
        return [self.close(value, f"{path}[{i}]", turn) for i, value in enumerate(tree)]

    def choice(self, node: Choice, path: str, turn: int) -> Any:
        path = node.path or path
        index = self.ask(path, node.labels)
        if index is None:
            options = tuple(
                self.close(o, branch_path(node, path, i), turn) for i, o in enumerate(node.options)
            )
            return Choice(options, node.names, path)
        value = node.options[index]
        if (close := _CLOSE.get(type(value))) is not None:
            value = close(self, value, branch_path(node, path, index), turn)
        return value if node.names is None else {node.names[index]: value}

    def use(self, node: Use, _path: str, _turn: int) -> Any:
        value = self.close(self.lets[node.name], f"let.{node.name}", OUTSIDE)
        if not is_open(value):
            return value
        self.open_lets[node.name] = value
        return node

    def repeat(self, node: Repeat, path: str, _turn: int) -> Any:
        path = node.path or path
        count = self._count(node.count, path)
        if count is None:
            for name in uses(node):
                self.open_lets[name] = self.close(self.lets[name], f"let.{name}", OUTSIDE)
            return replace(node, path=path)
        return [self.close(node.item, f"{path}[{i}]", i) for i in range(count)]

    def _count(self, count: Any, path: str) -> int | None:
        node = followed(count, self.lets)
        if not isinstance(node, Choice):
            return int(node)
        where = f"let.{target(count, self.lets)}" if isinstance(count, Use) else f"{path}.repeat"
        index = self.ask(node.path or where, node.labels)
        return None if index is None else int(node.options[index])

    def walk(self, node: Walk, path: str, _turn: int) -> Any:
        path = node.path or path
        stride, strides = node.start, []
        for step in range(node.steps):
            options = node.moves[stride]
            index = self.ask(f"{path}[{step}]@{stride}", options)
            if index is None:
                return replace(node, path=path)
            stride = options[index]
            strides.append(stride)
        return strides

    def pick(self, node: Pick, path: str, turn: int) -> Any:
        path = node.path or path
        ways, labels = node.ways(turn)
        index = self.ask(f"{path}.pick", labels)
        if index is None:
            sources = node.expanded(turn)
            ops = {s: self.close(node.op(s), f"{path}.{s}", turn) for s in sources}
            return Pick(node.count, sources, node.of, path, ops)
        return [
            {"source": s, "op": self.close(node.op(s), f"{path}.{s}", turn)} for s in ways[index]
        ]


_CLOSE: dict[type, Callable[[Closing, Any, str, int], Any]] = {
    dict: Closing.mapping,
    list: Closing.sequence,
    Choice: Closing.choice,
    Use: Closing.use,
    Repeat: Closing.repeat,
    Walk: Closing.walk,
    Pick: Closing.pick,
}
