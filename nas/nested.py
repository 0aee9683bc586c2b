"""Features as composites pass them, in lists and dicts: in order, as shapes, and with other references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from nas.errors import PlanError
from nas.parts import Feature, Ref

new = tuple.__new__  # what the constructor of a NamedTuple comes to, in half the time


def features_in(value: Any) -> list[Feature]:
    """Return the features of a nested structure, in order."""
    if value.__class__ is Feature:
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        raise _no_feature(value)
    return [feature for item in value for feature in features_in(item)]


def _no_feature(value: Any) -> PlanError:
    return PlanError(f"expected a feature, or a list or dict of features, got {value!r}")


def shapes_of(values: Iterable[Any], refs: list[Ref]) -> list[Any]:
    """Return channels, strides and what is alive of nested features, as plain data; append their references."""
    shapes: list[Any] = []
    for value in values:
        if value.__class__ is Feature:
            shapes.append(value[:3])
            refs.append(value[3])
        elif isinstance(value, dict):
            shapes += value
            shapes += shapes_of(value.values(), refs)
        elif isinstance(value, list | tuple):
            shapes.append(shapes_of(value, refs))
        else:
            raise _no_feature(value)
    return shapes


def renumbered(values: Iterable[Any], refs: Iterator[Ref]) -> list[Any]:
    """Return nested features with other references, taken in order."""
    placed: list[Any] = []
    for value in values:
        if value.__class__ is Feature:
            placed.append(new(Feature, (*value[:3], next(refs))))
        elif isinstance(value, dict):
            inner = renumbered(value.values(), refs)
            placed.append(value.__class__(zip(value, inner, strict=True)))
        else:
            placed.append(renumbered(value, refs))
    return placed
