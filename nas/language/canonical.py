"""Leaving out fields that equal their default: what makes two ways of writing one architecture equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from nas import registry
from nas.language import schema
from nas.language.schema import Either, Entry, Items, Named, Record, Row, Schema, Spec

Tidy = Callable[[Any], Any]
Table = Mapping[str, tuple[Tidy, Any]]


def shorten(tree: Any) -> Any:
    """Return a closed tree without the fields that equal their default; numbers that are whole become whole."""
    if not isinstance(tree, dict):
        return _tidy(tree)
    return _short_fields(_kind_table(schema.ROOT), tree)


def _tidy(value: Any) -> Any:
    """Return plain data: tuples as lists, whole floats as whole numbers."""
    kind = type(value)
    if kind is int or kind is str or kind is bool:
        return value
    if kind is float:
        return int(value) if value.is_integer() else value
    if kind is dict:
        return {k: _tidy(v) for k, v in value.items()}
    if kind is list or kind is tuple:
        return [_tidy(v) for v in value]
    return value


def _short_fields(table: Table, tree: Any) -> Any:
    if type(tree) is not dict:
        return _tidy(tree)
    out = {}
    for name, value in tree.items():
        rule = table.get(name)
        if rule is None:
            out[name] = _tidy(value)
            continue
        short = rule[0](value)
        default = rule[1]
        if short == default and type(short) is type(default):
            continue
        out[name] = short
    return out


def _short_spec(tree: Any) -> Any:
    if type(tree) is not dict or len(tree) != 1:
        return _tidy(tree)
    ((name, fields),) = tree.items()
    return {name: _short_fields(_kind_table(name), fields)}


def _short_items(tidy: Tidy, tree: Any) -> Any:
    return [tidy(v) for v in tree] if type(tree) is list or type(tree) is tuple else _tidy(tree)


def _short_row(tidies: tuple[Tidy, ...], tree: Any) -> Any:
    if type(tree) not in (list, tuple) or len(tree) != len(tidies):
        return _tidy(tree)
    return [tidy(v) for tidy, v in zip(tidies, tree, strict=True)]


def _short_named(tidy: Tidy, tree: Any) -> Any:
    return {k: tidy(v) for k, v in tree.items()} if type(tree) is dict else _tidy(tree)


def _short_record(of: type, tree: Any) -> Any:
    return _short_fields(_record_table(of), tree)


def _short_either(mapping: Tidy, sequence: Tidy, tree: Any) -> Any:
    return mapping(tree) if type(tree) is dict else sequence(tree)


def _shortener(rule: Schema) -> Tidy:
    """Return the function that shortens values where `rule` holds."""
    match rule:
        case Spec():
            return _short_spec
        case Items(item):
            return partial(_short_items, _shortener(item))
        case Row(items):
            return partial(_short_row, tuple(_shortener(i) for i in items))
        case Named(value):
            return partial(_short_named, _shortener(value))
        case Record(of):
            return partial(_short_record, of)
        case Either(options):
            mapping = next(
                (o for o in options if isinstance(o, Spec | Record | Named)), schema.Anything()
            )
            sequence = next((o for o in options if isinstance(o, Items | Row)), schema.Anything())
            return partial(_short_either, _shortener(mapping), _shortener(sequence))
    return _tidy


_KIND_TABLES: dict[str, tuple[registry.Kind, Table]] = {}
_RECORD_TABLES: dict[type, Table] = {}


def _kind_table(name: str) -> Table:
    """Return what shortens each field of a kind, with its default; empty for an unknown kind."""
    kind = registry.KINDS.get(name)
    if kind is None:
        return {}
    known = _KIND_TABLES.get(name)
    if known is None or known[0] is not kind:
        known = _KIND_TABLES[name] = (kind, _table(schema.kind_entries(name) or {}))
    return known[1]


def _record_table(of: type) -> Table:
    if of not in _RECORD_TABLES:
        _RECORD_TABLES[of] = _table(schema.record_entries(of))
    return _RECORD_TABLES[of]


def _table(entries: Mapping[str, Entry]) -> Table:
    table = {}
    for name, entry in entries.items():
        tidy = _shortener(entry.schema)
        default = entry.default if entry.default is schema.REQUIRED else tidy(entry.default)
        table[name] = (tidy, default)
    return table
