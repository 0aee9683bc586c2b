"""A published architecture at a part of its width: the same wiring and depth, fast enough to be trained in a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from nas.registry import KINDS, Field, Kind

COUNTED = {
    "width",
    "stem",
    "low_level",
    "filters",
    "output",
    "branch",
    "last",
    "keys",
    "detail",
    "semantic",
    "widths",
    "laterals",
}
"""Fields that count channels, in whole numbers or lists of them; as a fraction of a kind's own, a factor."""


def narrowed(tree: Any, share: int) -> Any:
    """Return a closed tree with every width divided by `share`, those that a kind has by default, too."""
    if isinstance(tree, list):
        return [narrowed(item, share) for item in tree]
    if not isinstance(tree, Mapping):
        return tree
    return {
        name: _of_kind(KINDS[name], value, share)
        if name in KINDS and isinstance(value, Mapping)
        else _divided(value, share)
        if name in COUNTED and _is_width(value)
        else narrowed(value, share)
        for name, value in tree.items()
    }


def _of_kind(kind: Kind, fields: Mapping[str, Any], share: int) -> dict[str, Any]:
    """Narrow a kind's fields; its factors are divided exactly."""
    defaults = {n: f.default for n, f in kind.fields.items() if n in COUNTED}
    every = {n: d for n, d in defaults.items() if _is_width(d)} | dict(fields)
    factors = {n: every[n] / share for n in defaults if n in every and _is_factor(kind.fields[n])}
    return narrowed(every, share) | factors


def _is_factor(field: Field) -> bool:
    return float in (field.annotation, *get_args(field.annotation))


def _is_width(value: Any) -> bool:
    items = value if isinstance(value, list | tuple) and value else [value]
    return all(isinstance(item, int | float) and not isinstance(item, bool) for item in items)


def _divided(value: Any, share: int) -> Any:
    """Channels rounded, at least two; where there are none, none."""
    if isinstance(value, list | tuple):
        return [_divided(item, share) for item in value]
    return max(2, round(value / share)) if value else value
