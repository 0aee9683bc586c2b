"""The ways to close a spec that one mixture stands for: its open fields, or its named options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

from nas import registry
from nas.errors import PlanError
from nas.language import schema
from nas.language.questions import count_path
from nas.language.schema import Anything, Either, Items, Named, Record, Row, Schema, Spec
from nas.language.tree import Choice, Pick, Repeat, Use, Walk, is_open
from nas.relax.gates import Gate

MOST = 16


class UnmixableError(PlanError):
    """Choices that a mixture cannot stand for; each of `paths` would have to be closed."""

    def __init__(self, paths: Iterable[str], why: str) -> None:
        self.paths, self.why = tuple(paths), why
        super().__init__(f"{', '.join(self.paths)}: {why}; close it with --fix PATH=VALUE")


Way = tuple[Gate, str, Any]
"""What it costs in decisions, a label, and the spec."""


def ways(spec: Any) -> list[Way] | None:
    """Return the ways to close what a mixture of `spec` decides; None where there is nothing to decide.

    Specs inside (the operations of a cell, the cells of an encoder), picks and walks stay open: the composite that has
    them as fields adds them in turn. Raises UnmixableError for more than 16 ways, and for counts of a repeat.
    """
    if isinstance(spec, Choice):
        return _options(spec)
    ((name, fields),) = spec.items()
    if not is_open(fields):
        return None
    asked = {c.path: c for c in _asked(_fields_rule(name), fields)}
    if not asked:
        return None
    choices = list(asked.values())
    number = prod(len(c.options) for c in choices)
    if number > MOST:
        raise UnmixableError(
            asked,
            f"{number} ways to close the fields of {name!r} together, and a mixture holds at most {MOST}",
        )
    return [
        _way(spec, choices, indices)
        for indices in product(*(range(len(c.options)) for c in choices))
    ]


def substitute(tree: Any, path: str, index: int) -> Any:
    """Return `tree` with every choice that has `path` closed to its option `index`."""
    match tree:
        case dict():
            return {k: substitute(v, path, index) for k, v in tree.items()}
        case list():
            return [substitute(v, path, index) for v in tree]
        case tuple():
            return tuple(substitute(v, path, index) for v in tree)
        case Choice() if tree.path == path:
            option = tree.options[index]
            return option if tree.names is None else {tree.names[index]: option}
        case Choice():
            options = tuple(substitute(o, path, index) for o in tree.options)
            return Choice(options, tree.names, tree.path)
        case Pick():
            ops = {s: substitute(tree.op(s), path, index) for s in tree.sources}
            return Pick(tree.count, tree.sources, tree.of, tree.path, ops)
    return tree


def _options(choice: Choice) -> list[Way]:
    if choice.names is not None:
        pairs = zip(choice.names, choice.options, strict=True)
        return [(((choice.path, i),), n, {n: o}) for i, (n, o) in enumerate(pairs)]
    return [(((choice.path, i),), f"{i}", o) for i, o in enumerate(choice.options)]


def _way(spec: Any, choices: list[Choice], indices: tuple[int, ...]) -> Way:
    gate = tuple((c.path, i) for c, i in zip(choices, indices, strict=True))
    for path, index in gate:
        spec = substitute(spec, path, index)
    labels = (
        f"{c.path.rpartition('.')[2]}={c.labels[i]}" for c, i in zip(choices, indices, strict=True)
    )
    return gate, ",".join(labels).replace(".", "_"), spec


def _fields_rule(name: str) -> Schema | Mapping[str, schema.Entry]:
    kind = registry.find(name)
    return Anything() if kind.is_leaf else (schema.kind_entries(name) or Anything())


def _asked(rule: Any, tree: Any) -> Iterator[Choice]:
    """Yield the choices that no inner spec, pick or walk will ask."""
    match tree:
        case Choice() if not isinstance(rule, Spec):
            yield tree
        case Repeat():
            raise UnmixableError([_count_path(tree)], "how many there are cannot be mixed")
        case Pick() | Walk():
            return
        case dict() if not isinstance(rule, Spec):
            for key, value in tree.items():
                yield from _asked(_inner(rule, key), value)
        case list():
            for i, value in enumerate(tree):
                yield from _asked(_inner(rule, i), value)


def _count_path(tree: Repeat) -> str:
    """Return the path of the question how many there are: a let's own where it is one."""
    if isinstance(tree.count, Use):
        return f"let.{tree.count.name}"
    return count_path(tree, tree.path, {})


def _inner(rule: Any, key: Any) -> Any:
    """Return what holds at `key` of a value where `rule` holds."""
    match rule:
        case dict():
            return rule[key].schema if key in rule else Anything()
        case Record(of):
            entry = schema.record_entries(of).get(key)
            return entry.schema if entry else Anything()
        case Named(inner) | Items(inner):
            return inner
        case Row(items) if key < len(items):
            return items[key]
        case Either(options):
            fitting = (o for o in options if not isinstance(o, schema.Scalar | schema.OneOf))
            return _inner(next(fitting, Anything()), key)
    return Anything()
