"""Every open node as a question with what follows each answer: counting, covering and listing walk over these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    target,
    under,
)


@dataclass(frozen=True, slots=True)
class Part:
    """A tree where it stands: its path, and the index of the surrounding repeat's item."""

    node: Any
    path: str = ""
    turn: int = OUTSIDE

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells this part from all others of its template."""
        if isinstance(self.node, Step):
            return (self.path, Step, self.node.step, self.node.stride)
        return (self.path, type(self.node))


@dataclass(frozen=True, slots=True)
class Step:
    """The rest of a walk: `step` moves are made, and it has come to `stride`."""

    walk: Walk
    step: int
    stride: int


@dataclass(frozen=True, slots=True)
class Question:
    """A question that a chooser is asked, and the parts that come after each of its options."""

    path: str
    labels: Sequence[Any]
    branches: tuple[tuple[Part, ...], ...]


def expand(part: Part, lets: Mapping[str, Any]) -> Question | tuple[Part, ...]:
    """Return the question that `part` starts with, or the parts that it consists of."""
    node, path, turn = part.node, part.path, part.turn
    match node:
        case dict():
            return tuple(Part(v, under(path, k), turn) for k, v in node.items())
        case list():
            return tuple(Part(v, f"{path}[{i}]", turn) for i, v in enumerate(node))
        case Use(name):
            return (Part(lets[name], f"let.{name}"),)
        case Choice(options):
            path = node.path or path
            branches = tuple(
                (Part(o, branch_path(node, path, i), turn),) for i, o in enumerate(options)
            )
            return _asked(path, node.labels, branches)
        case Repeat(_, item):
            path = node.path or path
            sizes = counts(node, lets)
            items = tuple(Part(item, f"{path}[{i}]", i) for i in range(max(sizes)))
            return _asked(count_path(node, path, lets), sizes, tuple(items[:n] for n in sizes))
        case Walk(_, start):
            return (Part(Step(node, 0, start), node.path or path),)
        case Step():
            return _step(node, path)
        case Pick():
            return _pick(node, node.path or path, turn)
    return ()


def count_path(node: Repeat, path: str, lets: Mapping[str, Any]) -> str:
    """Return the path of the question for a repeat's count."""
    if isinstance(node.count, Use):
        return f"let.{target(node.count, lets)}"
    own = node.count.path if isinstance(node.count, Choice) else ""
    return own or f"{path}.repeat"


def questions(template: Template) -> Iterator[Question]:
    """Yield every question that some architecture asks, each once, in the order of the file."""
    asked: set[str] = set()
    seen: set[tuple[Any, ...]] = set()
    waiting = [Part(template.tree)]
    while waiting:
        part = waiting.pop()
        if part.key in seen:
            continue
        seen.add(part.key)
        found = expand(part, template.lets)
        if isinstance(found, Question):
            if found.path not in asked:
                asked.add(found.path)
                yield found
            found = tuple(p for branch in found.branches for p in branch)
        waiting += reversed(found)


def _asked(
    path: str, labels: Sequence[Any], branches: tuple[tuple[Part, ...], ...]
) -> Question | tuple[Part, ...]:
    return Question(path, labels, branches) if len(branches) > 1 else branches[0]


def _step(node: Step, path: str) -> Question | tuple[Part, ...]:
    if node.step == node.walk.steps:
        return ()
    options = node.walk.moves[node.stride]
    after = tuple((Part(Step(node.walk, node.step + 1, stride), path),) for stride in options)
    return _asked(f"{path}[{node.step}]@{node.stride}", options, after)


def _pick(node: Pick, path: str, turn: int) -> Question | tuple[Part, ...]:
    ways, labels = node.ways(turn)
    ops = {s: Part(node.op(s), f"{path}.{s}", turn) for s in node.expanded(turn)}
    return _asked(f"{path}.pick", labels, tuple(tuple(ops[s] for s in way) for way in ways))
