"""A YAML file as values that know their line and column; nothing in it is ever executed.

Read from PyYAML's event stream (C loader), so that depth and size are bounded while reading. Scalars follow YAML 1.2's
core schema: `no` and `2:30` are strings, `1e6` is a float, `0123` is 123. Aliases copy; tags and merge keys are
refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from nas.errors import SpaceError, Where

MOST_BYTES = 1_000_000
MOST_VALUES = 100_000
MOST_LEVELS = 60
MOST_DIGITS = 40

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OTHER_INT = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Value:
    """A scalar, a list of values or a dict of values, with its place and (inside a mapping) the place of its key."""

    data: Any
    where: Where
    key: Where | None = None

    def plain(self) -> Any:
        """Return the same as ordinary Python data."""
        if isinstance(self.data, dict):
            return {k: v.plain() for k, v in self.data.items()}
        if isinstance(self.data, list):
            return [v.plain() for v in self.data]
        return self.data


def read_file(path: Path) -> Value:
    """Return the one document in a file; raises SpaceError with the place of what is wrong."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise SpaceError(f"{path}: {size:,} bytes; a space file has at most {MOST_BYTES:,}")
        return read_text(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise SpaceError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpaceError(
            f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8"
        ) from error


def read_text(text: str, file: str = "<text>") -> Value:
    """Return the one document in `text`; `file` is what places in it are called by."""
    if len(text) > MOST_BYTES:
        raise SpaceError(
            f"{file}: {len(text):,} characters; a space file has at most {MOST_BYTES:,}"
        )
    try:
        return _Reader(file, yaml.parse(text, Loader=yaml.CSafeLoader)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{_where(file, mark)}: " if mark else f"{file}: "
        raise SpaceError(f"{place}not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise SpaceError(f"{file}: not YAML: {error}") from error


def scalar(text: str) -> Any:
    """Return what a plain scalar means by YAML 1.2's core schema; raises ValueError for what no space can hold."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number")
    if _INT.fullmatch(text) or _OTHER_INT.fullmatch(text):
        if len(text) > MOST_DIGITS:
            raise ValueError(f"a number of {len(text)} digits")
        return int(text) if _INT.fullmatch(text) else int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"{text} is too large for a number")
        return number
    return text


def _where(file: str, mark: Any) -> Where:
    return Where(file, mark.line + 1, mark.column + 1)


@dataclass(slots=True)
class _Reader:
    """Builds values out of parser events; `weights` bounds what aliases expand to."""

    file: str
    events: Iterator[Any]
    anchors: dict[str, tuple[Value, int]] = field(default_factory=dict)

    def document(self) -> Value:
        """Return the only document; nothing may follow it."""
        next(self.events)
        start = next(self.events)
        if isinstance(start, yaml.StreamEndEvent):
            raise SpaceError(
                f"{self.file}: the file is empty; expected a mapping such as `encoder: ...`"
            )
        value, _ = self._value(next(self.events), 0)
        next(self.events)
        rest = next(self.events)
        if not isinstance(rest, yaml.StreamEndEvent):
            self._refuse(rest, "a second document; a file holds one")
        return value

    def _refuse(self, event: Any, text: str) -> None:
        raise SpaceError(f"{_where(self.file, event.start_mark)}: {text}")

    def _value(self, event: Any, level: int) -> tuple[Value, int]:
        """Return the value that starts with `event`, and how many values it holds with aliases written out."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.tag is not None and event.tag != "!":
            self._refuse(event, f"the tag {event.tag!r}; values here have no tags")
        if level > MOST_LEVELS:
            self._refuse(event, f"more than {MOST_LEVELS} levels of nesting")
        where = _where(self.file, event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            data, weight = self._scalar(event), 1
        elif isinstance(event, yaml.SequenceStartEvent):
            data, weight = self._sequence(level)
        else:
            data, weight = self._mapping(level)
        if weight > MOST_VALUES:
            self._refuse(event, f"more than {MOST_VALUES:,} values, aliases written out")
        value = Value(data, where)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, weight)
        return value, weight

    def _alias(self, event: Any) -> tuple[Value, int]:
        if event.anchor not in self.anchors:
            self._refuse(
                event, f"the alias *{event.anchor} has no finished anchor &{event.anchor} before it"
            )
        return self.anchors[event.anchor]

    def _scalar(self, event: Any) -> Any:
        if not event.implicit[0]:
            return event.value
        try:
            return scalar(event.value)
        except ValueError as error:
            return self._refuse(
                event, f"{error}; expected a finite number of at most {MOST_DIGITS} digits"
            )

    def _sequence(self, level: int) -> tuple[list[Value], int]:
        items: list[Value] = []
        weight = 1
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            value, more = self._value(event, level + 1)
            items.append(value)
            weight += more
        return items, weight

    def _mapping(self, level: int) -> tuple[dict[str | int, Value], int]:
        items: dict[str | int, Value] = {}
        first: dict[str, Where] = {}
        weight = 1
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, first)
            value, more = self._value(next(self.events), level + 1)
            items[key] = replace(value, key=first[str(key)])
            weight += more
        return items, weight

    def _key(self, event: Any, first: dict[str, Where]) -> str | int:
        key = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else None
        if isinstance(key, bool) or not isinstance(key, str | int):
            self._refuse(
                event,
                f"the key {getattr(event, 'value', '[...]')!r}; a key is a name or a whole number: quote it",
            )
        assert isinstance(key, str | int)
        if key == "<<":
            self._refuse(
                event, "a merge key (<<); write the keys out, or build on another file with `base:`"
            )
        if str(key) in first:
            self._refuse(event, f"the key {key!r} stands twice; first at {first[str(key)]}")
        first[str(key)] = _where(self.file, event.start_mark)
        return key
