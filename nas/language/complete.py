"""Writing in the defaults of all kinds, closed or open: what makes trees comparable field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.language import schema
from nas.language.schema import Anything, Either, Entry, Items, Named, Record, Row, Schema, Spec
from nas.language.tree import Choice, Pick, Repeat, Template, Use


def complete(template: Template, root: str = schema.ROOT) -> Template:
    """Return a template, whose top-level keys are fields of `root`, with the defaults of all options written in."""
    entries = schema.kind_entries(root)
    if entries is None or not isinstance(template.tree, dict):
        return template
    work = Completing()
    tree = work.fields(entries, template.tree)
    lets: dict[str, Any] = {}
    while fresh := work.rules.keys() - lets.keys():
        for name in fresh:
            lets[name] = work.tree(work.rules[name], template.lets[name])
    return Template(tree, {**template.lets, **lets})


@dataclass(slots=True)
class Completing:
    """One pass; `rules` notes what holds where a let is used first."""

    rules: dict[str, Schema] = field(default_factory=dict)

    def tree(self, rule: Schema, tree: Any) -> Any:
        """Return `tree`, which stands where `rule` holds, with defaults written in; open nodes stay open."""
        match tree:
            case Choice(options, None):
                return Choice(tuple(self.tree(rule, o) for o in options), None, tree.path)
            case Choice(options, names):
                full = tuple(
                    self.tree(rule, {n: o})[n] for n, o in zip(names or (), options, strict=True)
                )
                return Choice(full, names, tree.path)
            case Repeat(count, item):
                return Repeat(count, self.tree(item_rule(rule), item), tree.path)
            case Pick():
                return self._pick(op_rule(rule), tree)
            case Use(name):
                self.rules.setdefault(name, rule)
            case list():
                return [self.tree(item_rule(rule, i), v) for i, v in enumerate(tree)]
            case dict():
                return self._mapping(rule, tree)
        return tree

    def fields(self, entries: Mapping[str, Entry], tree: dict[str, Any]) -> dict[str, Any]:
        """Return a kind's or record's fields with its defaults."""
        out = {k: self.tree(entries[k].schema, v) if k in entries else v for k, v in tree.items()}
        for name, entry in entries.items():
            if name not in out and entry.default is not schema.REQUIRED:
                out[name] = self.tree(entry.schema, entry.default)
        return out

    def _pick(self, rule: Schema, node: Pick) -> Pick:
        ops = None if node.ops is None else {s: self.tree(rule, o) for s, o in node.ops.items()}
        return Pick(node.count, node.sources, self.tree(rule, node.of), node.path, ops)

    def _mapping(self, rule: Schema, tree: dict[str, Any]) -> dict[str, Any]:
        match rule:
            case Spec() if len(tree) == 1:
                ((name, fields),) = tree.items()
                entries = schema.kind_entries(name)
                return (
                    {name: self.fields(entries, fields)}
                    if entries is not None and isinstance(fields, dict)
                    else tree
                )
            case Record(of):
                return self.fields(schema.record_entries(of), tree)
            case Named(value):
                return {k: self.tree(value, v) for k, v in tree.items()}
            case Either(options):
                fitting = next(
                    (o for o in options if isinstance(o, Spec | Record | Named)), Anything()
                )
                return self._mapping(fitting, tree)
        return tree


def item_rule(rule: Schema, index: int = 0) -> Schema:
    """Return what holds for the items of a list where `rule` holds."""
    match rule:
        case Items(item):
            return item
        case Row(items) if index < len(items):
            return items[index]
        case Either(options):
            return next(
                (item_rule(o, index) for o in options if isinstance(o, Items | Row)), Anything()
            )
    return Anything()


def op_rule(rule: Schema) -> Schema:
    """Return what holds for the operations of a pick where `rule` holds: the field `op` of its entries."""
    match item_rule(rule):
        case Record(of):
            entry = schema.record_entries(of).get("op")
            return entry.schema if entry else Anything()
        case Named(value):
            return value
    return Anything()
