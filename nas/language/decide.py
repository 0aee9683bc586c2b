"""Reading decisions back: the inverse of closing a space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.architecture import Architecture
from nas.errors import SpaceError, suggest
from nas.language.complete import complete
from nas.language.questions import count_path
from nas.language.tree import (
    OUTSIDE,
    Choice,
    Pick,
    Repeat,
    Template,
    Use,
    Walk,
    branch_path,
    counts,
    once,
    under,
)


def decide(space: Template, architecture: Architecture) -> dict[str, int]:
    """Return the decisions that close `space` to `architecture`; fields left out of either count as their defaults.

    Raises SpaceError naming the first place where the architecture lies outside the space.
    """
    full = once(space, complete)
    matching = _Matching(full.lets)
    matching.match(full.tree, complete(Template(architecture.tree)).tree, "", OUTSIDE)
    return matching.made


class _OutsideError(SpaceError):
    """The architecture is not in the space."""


def _outside(path: str, expected: str, value: Any) -> _OutsideError:
    return _OutsideError(
        f"{path or 'top'}: the architecture lies outside the space: expected {expected}, got {_show(value)}"
    )


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(slots=True)
class _Matching:
    lets: Mapping[str, Any]
    made: dict[str, int] = field(default_factory=dict)

    def match(self, tree: Any, value: Any, path: str, turn: int) -> None:
        """Note the decisions that make `value` of `tree`; raises SpaceError where none do."""
        match = _MATCH.get(type(tree))
        if match is not None:
            match(self, tree, value, path, turn)
        elif tree != value or isinstance(tree, bool) != isinstance(value, bool):
            raise _outside(path, repr(tree), value)

    def note(self, path: str, index: int, options: Sequence[Any]) -> None:
        """Note one decision; what is used in several places must be the same in all of them."""
        if len(options) == 1:
            return
        known = self.made.setdefault(path, index)
        if known != index:
            raise _outside(
                path, f"{options[known]!r} as in the other places that use it", options[index]
            )

    def mapping(self, tree: dict[str, Any], value: Any, path: str, turn: int) -> None:
        if not isinstance(value, dict):
            raise _outside(path, f"a mapping of {', '.join(tree)}", value)
        for key, inner in tree.items():
            if key not in value:
                raise _outside(under(path, key), _words(inner), "nothing")
            self.match(inner, value[key], under(path, key), turn)
        for key, extra in value.items():
            if key not in tree:
                raise _outside(under(path, key), f"no {key!r} here ({suggest(key, tree)})", extra)

    def sequence(self, tree: list[Any], value: Any, path: str, turn: int) -> None:
        items = self._list(value, path, (len(tree),))
        for i, item in enumerate(tree):
            self.match(item, items[i], f"{path}[{i}]", turn)

    def choice(self, node: Choice, value: Any, path: str, turn: int) -> None:
        path = node.path or path
        if node.names is None:
            self._unnamed(node, value, path, turn)
            return
        name = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else None
        if name not in node.names:
            raise _outside(path, f"one of {', '.join(node.names)}", value if name is None else name)
        index = node.names.index(name)
        self.note(path, index, node.labels)
        self.match(node.options[index], value[name], branch_path(node, path, index), turn)

    def _unnamed(self, node: Choice, value: Any, path: str, turn: int) -> None:
        before = dict(self.made)
        for index, option in enumerate(node.options):
            if type(option) not in _MATCH and option != value:
                continue
            try:
                self.match(option, value, branch_path(node, path, index), turn)
            except _OutsideError:
                self.made = dict(before)
                if len(node.options) == 1:
                    raise
            else:
                self.note(path, index, node.labels)
                return
        raise _outside(path, f"one of {', '.join(map(str, node.labels))}", value)

    def use(self, node: Use, value: Any, _path: str, _turn: int) -> None:
        self.match(self.lets[node.name], value, f"let.{node.name}", OUTSIDE)

    def repeat(self, node: Repeat, value: Any, path: str, _turn: int) -> None:
        path = node.path or path
        sizes = counts(node, self.lets)
        items = self._list(value, path, sizes)
        self.note(count_path(node, path, self.lets), sizes.index(len(items)), sizes)
        for i, item in enumerate(items):
            self.match(node.item, item, f"{path}[{i}]", i)

    def walk(self, node: Walk, value: Any, path: str, _turn: int) -> None:
        path = node.path or path
        stride = node.start
        for step, to in enumerate(self._list(value, path, (node.steps,))):
            options = node.moves[stride]
            here = f"{path}[{step}]@{stride}"
            if to not in options:
                raise _outside(here, f"one of {', '.join(map(str, options))}", to)
            self.note(here, options.index(to), options)
            stride = to

    def pick(self, node: Pick, value: Any, path: str, turn: int) -> None:
        path = node.path or path
        ways, labels = node.ways(turn)
        entries = self._list(value, path, (node.count,))
        if not all(isinstance(e, dict) and e.keys() == {"source", "op"} for e in entries):
            raise _outside(path, "entries {source, op}", value)
        sources = tuple(e["source"] for e in entries)
        if sources not in ways:
            order = (
                f"{node.count} different ones of {', '.join(node.expanded(turn))}, in this order"
            )
            raise _outside(f"{path}.pick", order, ", ".join(map(str, sources)))
        self.note(f"{path}.pick", ways.index(sources), labels)
        for entry in entries:
            self.match(node.op(entry["source"]), entry["op"], f"{path}.{entry['source']}", turn)

    def _list(self, value: Any, path: str, sizes: Sequence[int]) -> list[Any]:
        if not isinstance(value, list) or len(value) not in sizes:
            got = f"{len(value)} items" if isinstance(value, list) else value
            raise _outside(path, f"a list of {' or '.join(map(str, sizes))} items", got)
        return value


def _words(tree: Any) -> str:
    return f"one of {', '.join(map(str, tree.labels))}" if isinstance(tree, Choice) else "a value"


_MATCH: dict[type, Callable[[_Matching, Any, Any, str, int], None]] = {
    dict: _Matching.mapping,
    list: _Matching.sequence,
    Choice: _Matching.choice,
    Use: _Matching.use,
    Repeat: _Matching.repeat,
    Walk: _Matching.walk,
    Pick: _Matching.pick,
}
