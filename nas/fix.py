"""Closing some choices of a space by hand, before it is searched: `PATH=VALUE`.

A `*` in the path stands for anything, and the values `first` and `last` for the first and the last option, so that
`*.width=last` closes all widths.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from nas.errors import SpaceError, suggest
from nas.language.questions import questions
from nas.language.tree import Template
from nas.resolve import resolve
from nas.space import Space

ENDS = {"first": 0, "last": -1}


def parse_fixes(texts: Iterable[str]) -> dict[str, str]:
    """Return {path: value} of "PATH=VALUE" texts; raises SpaceError for one without "=" and for a path given twice."""
    fixes: dict[str, str] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not path or not value:
            raise SpaceError(
                f"--fix {text!r}: expected PATH=VALUE, e.g. decoders.semantic.neck=fpn"
            )
        if fixes.setdefault(path, value) != value:
            raise SpaceError(f"--fix {path}: given twice, {fixes[path]!r} and {value!r}; keep one")
    return fixes


def fixed(space: Space, fixes: Mapping[str, str]) -> Space:
    """Return the space with the choices at these paths closed to these values; all other paths stay as they are.

    Raises SpaceError with the nearest path or value where there is none of that name, where a choice cannot be closed
    by itself (inside a repeat that is open, one move of a walk), and where nothing is left to search.
    """
    if not fixes:
        return space
    asked = {question.path: question.labels for question in questions(space)}
    taken = {p: _index(p, v, asked[p]) for text, v in fixes.items() for p in _paths(text, asked)}
    left = resolve(space, lambda path, _options: taken.get(path))
    if not isinstance(left, Template):
        raise SpaceError(f"--fix {', '.join(fixes)}: nothing is left to search; build it instead")
    result = replace(space, tree=left.tree, lets=left.lets)
    still = [path for path in (q.path for q in questions(result)) if path in taken]
    if still:
        raise SpaceError(
            f"--fix {still[0]}: it is part of something that is open as a whole (a repeat whose number is not fixed, a "
            "walk whose other moves are not); fix that too, or leave it out"
        )
    return result


def _paths(text: str, asked: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the paths that are meant; raises SpaceError where there are none."""
    pattern = re.compile(".*".join(map(re.escape, text.split("*"))))
    if found := [path for path in asked if pattern.fullmatch(path)]:
        return found
    raise SpaceError(f"--fix {text}: no open choice has this path; {suggest(text, asked)}")


def _index(path: str, value: str, labels: Sequence[Any]) -> int:
    """Return the option that a value names."""
    names = [str(label) for label in labels]
    if value in names:
        return names.index(value)
    if value in ENDS:
        return ENDS[value] % len(labels)
    parsed = yaml.safe_load(value)
    for i, label in enumerate(labels):
        if label == parsed and isinstance(label, bool) == isinstance(parsed, bool):
            return i
    raise SpaceError(f"--fix {path}: no option is called {value!r}; {suggest(value, names)}")
