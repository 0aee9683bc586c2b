"""What a schema expects, in words, and what a scalar may be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from types import NoneType
from typing import Any

from nas import registry
from nas.errors import suggest
from nas.fields import OddOnly, Range
from nas.language.parse import RANGE
from nas.language.places import brief, listed
from nas.language.schema import (
    Either,
    Items,
    Named,
    OneOf,
    Record,
    Row,
    Scalar,
    Schema,
    Spec,
    record_entries,
)

_TYPES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    NoneType: "nothing (null)",
}
_YES_NO = ("yes", "no", "on", "off", "Yes", "No", "On", "Off")


def expected(rule: Schema) -> str:
    """Return what `rule` allows, in words."""
    match rule:
        case Scalar():
            return _expected_scalar(rule)
        case OneOf(values):
            return f"one of {listed(values)}" if len(values) > 1 else repr(values[0])
        case Items(item):
            return f"a list, each item {expected(item)}"
        case Row(items):
            return f"a list of {len(items)}: {'; '.join(map(expected, items))}"
        case Named(value):
            return f"a mapping from names, each {expected(value)}"
        case Record(of):
            return f"a mapping of {', '.join(record_entries(of))}"
        case Spec(slot):
            return f"one {slot} as {{kind: fields}}"
        case Either(options):
            return " or ".join(map(expected, options))
    return "anything"


def wrong_scalar(rule: Scalar | OneOf, value: Any) -> str | None:
    """Return what is wrong with `value`, with the nearest legal value, or None if it is legal."""
    if isinstance(rule, OneOf):
        legal = any(
            v == value and isinstance(v, bool) == isinstance(value, bool) for v in rule.values
        )
        return (
            None
            if legal
            else f"expected {expected(rule)}, got {brief(value)}; {nearest(value, rule.values)}"
        )
    if not _is_of(rule.type, value):
        return f"expected {expected(rule)}, got {brief(value)}{_type_hint(rule, value)}"
    near = value
    for mark in rule.marks:
        near = _moved(mark, near)
    return (
        None if near == value else f"expected {expected(rule)}, got {brief(value)}; nearest: {near}"
    )


def nearest(value: Any, known: Iterable[Any]) -> str:
    """Return the closest of `known` for a message: numbers by distance, names by spelling."""
    options = list(known)
    numbers = [k for k in options if _is_of(float, k)]
    if _is_of(float, value) and numbers:
        return f"nearest: {min(numbers, key=lambda n: abs(n - value))}"
    close = get_close_matches(str(value), map(str, options), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else "see the list"


def wrong_kind(slot: str, name: Any) -> str | None:
    """Return what is wrong with `name` as a kind of a slot, with the closest legal name, or None."""
    kind = registry.KINDS.get(name)
    if kind is not None and slot in kind.slots:
        return None
    slots = f"{name!r} is for the slot {' or '.join(kind.slots)}, not {slot}" if kind else ""
    elsewhere = slots or f"no {slot} is called {name!r}"
    return f"{elsewhere}; {suggest(name, registry.names(slot))}"


def _expected_scalar(rule: Scalar) -> str:
    text = _TYPES[rule.type]
    for mark in rule.marks:
        if isinstance(mark, OddOnly):
            text = "an odd whole number from 1"
        elif isinstance(mark, Range):
            text += _expected_range(mark)
    return text


def _expected_range(mark: Range) -> str:
    parts = [
        f"from {mark.least:g}" if mark.least is not None else "",
        f"up to {mark.most:g}" if mark.most is not None else "",
    ]
    parts.append(f"in multiples of {mark.multiple}" if mark.multiple else "")
    return "".join(f" {p}" for p in parts if p)


def _is_of(wanted: type, value: Any) -> bool:
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def _type_hint(rule: Scalar, value: Any) -> str:
    if isinstance(value, dict) and set(RANGE[:2]) <= set(value) <= set(RANGE):
        return "; a range stands in a choice: {choice: {from: ...}}"
    if rule.type is bool and value in _YES_NO:
        return "; write true or false"
    if rule.type in (int, float) and isinstance(value, str) and value.lstrip("-").isdigit():
        return f"; write {value} without quotes"
    return (
        f"; write it in quotes: '{value}'"
        if rule.type is str and isinstance(value, int | float)
        else ""
    )


def _moved(mark: Any, value: Any) -> Any:
    """Return the legal value that is nearest to `value`; `value` itself if it is legal."""
    if isinstance(mark, OddOnly):
        return max(1, value) if value % 2 else max(1, value + 1)
    if not isinstance(mark, Range):
        return value
    if mark.multiple and value % mark.multiple:
        value = round(value / mark.multiple) * mark.multiple
    if mark.least is not None and value < mark.least:
        value = -(-mark.least // mark.multiple) * mark.multiple if mark.multiple else mark.least
    if mark.most is not None and value > mark.most:
        value = mark.most // mark.multiple * mark.multiple if mark.multiple else mark.most
    return int(value) if isinstance(value, float) and value.is_integer() else value
