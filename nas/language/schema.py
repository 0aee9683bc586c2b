"""What a kind's annotations allow, read once: the one reading that validation and canonical text share."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from nas import registry
from nas.fields import OddOnly, Range, Slot

REQUIRED = registry.REQUIRED
ROOT = "network"


@dataclass(frozen=True, slots=True)
class Anything:
    """No rule."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """int, float, bool, str or None, within `marks` (Range, OddOnly)."""

    type: type
    marks: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of the values of a Literal."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list of any length."""

    item: Schema


@dataclass(frozen=True, slots=True)
class Row:
    """A list with a schema for each of its places."""

    items: tuple[Schema, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A mapping from free names."""

    value: Schema


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with fixed keys: a TypedDict or a dataclass."""

    of: type


@dataclass(frozen=True, slots=True)
class Spec:
    """One `{kind: fields}` of a slot."""

    slot: str


@dataclass(frozen=True, slots=True)
class Either:
    """Any one of several."""

    options: tuple[Schema, ...]


Schema = Anything | Scalar | OneOf | Items | Row | Named | Record | Spec | Either


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a kind or record: its schema, and its default as plain data, or REQUIRED."""

    schema: Schema
    default: Any = REQUIRED
    optional: bool = False

    @property
    def is_required(self) -> bool:
        """Whether a file must name the field."""
        return self.default is REQUIRED and not self.optional


def read(annotation: Any, marks: tuple[Any, ...] = ()) -> Schema:
    """Return the schema of an annotation; marks of `Annotated` reach the scalars inside. Others allow anything."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        slot = next((m for m in args[1:] if isinstance(m, Slot)), None)
        rules = tuple(m for m in args[1:] if isinstance(m, Range | OddOnly))
        return Spec(slot.name) if slot else read(args[0], marks + rules)
    if origin in (Required, NotRequired):
        return read(args[0], marks)
    if origin is Literal:
        return OneOf(args)
    if origin in (Union, types.UnionType):
        return Either(tuple(read(a, marks) for a in args))
    if annotation in (None, types.NoneType):
        return Scalar(types.NoneType)
    if annotation in (int, float, bool, str):
        return Scalar(annotation, marks)
    return _compound(annotation, origin, args, marks)


def kind_entries(name: str) -> Mapping[str, Entry] | None:
    """Return the fields of the kind called `name`, or None if no such kind is registered."""
    kind = registry.KINDS.get(name)
    if kind is None:
        return None
    known = _KIND_ENTRIES.get(name)
    if known is None or known[0] is not kind:
        entries = {
            f.name: Entry(read(f.annotation), to_plain(f.default)) for f in kind.fields.values()
        }
        known = _KIND_ENTRIES[name] = (kind, entries)
    return known[1]


@cache
def record_entries(of: type) -> Mapping[str, Entry]:
    """Return the keys of a TypedDict or dataclass."""
    hints = get_type_hints(of, include_extras=True)
    if is_typeddict(of):
        return {k: Entry(read(hint), optional=_may_miss(of, k, hint)) for k, hint in hints.items()}
    return {
        f.name: Entry(read(hints[f.name]), _dataclass_default(f)) for f in dataclasses.fields(of)
    }


def to_plain(value: Any) -> Any:
    """Return a default as a file would hold it: tuples as lists, records as mappings, whole floats as whole numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {k: to_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


_KIND_ENTRIES: dict[str, tuple[registry.Kind, dict[str, Entry]]] = {}


def _compound(
    annotation: Any, origin: Any, args: tuple[Any, ...], marks: tuple[Any, ...]
) -> Schema:
    container = origin or annotation
    if not isinstance(container, type):
        return Anything()
    if is_typeddict(container) or dataclasses.is_dataclass(container):
        return Record(container)
    if issubclass(container, tuple) and args and args[-1] is not Ellipsis:
        return Row(tuple(read(a, marks) for a in args))
    if issubclass(container, Sequence) and container is not str:
        return Items(read(args[0], marks) if args else Anything())
    if issubclass(container, Mapping):
        return Named(read(args[1], marks) if args else Anything())
    return Anything()


def _may_miss(of: Any, key: str, hint: Any) -> bool:
    """Return whether a TypedDict's key may be missing; `__required_keys__` overlooks markers in text annotations."""
    origin = get_origin(hint)
    return origin is NotRequired or (origin is not Required and key not in of.__required_keys__)


def _dataclass_default(f: dataclasses.Field[Any]) -> Any:
    if f.default_factory is not dataclasses.MISSING:
        return to_plain(f.default_factory())
    return REQUIRED if f.default is dataclasses.MISSING else to_plain(f.default)
