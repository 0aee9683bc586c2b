"""Where the parts of a file stand, and the errors found in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.errors import SpaceError, Where
from nas.language.document import Value

MOST_ERRORS = 10
_TOKEN = re.compile(r"\.?[^.\[\]:@]+|\[\d*\]|:\d+|@\d+")


@dataclass(frozen=True, slots=True)
class Places:
    """Where values and the keys before them stand, by template path: see `nas.language.tree.nodes`."""

    values: dict[str, Where] = field(default_factory=dict)
    keys: dict[str, Where] = field(default_factory=dict)

    def note(self, path: str, value: Value) -> None:
        """Remember where the value at `path` stands."""
        self.values[path] = value.where
        if value.key is not None:
            self.keys[path] = value.key

    def find(self, path: str) -> Where | None:
        """Return the place of a decision's path, or of the nearest part above it that has one."""
        found = ""
        for token in _TOKEN.findall(path):
            step = next((s for s in _steps(found, token) if s in self.values), None)
            if step is None:
                break
            found = step
        return self.values.get(found)

    def key(self, path: str) -> Where | None:
        """Return the place of the key at a template path, or of its value where it has no key."""
        return self.keys.get(path) or self.find(path)


@dataclass(slots=True)
class Problems:
    """Errors of one file, so that several are reported at once."""

    lines: list[str] = field(default_factory=list)

    def add(self, where: Where | None, path: str, text: str) -> None:
        """Note one error; the same one found on two ways counts once."""
        line = _line(where, path, text)
        if line not in self.lines:
            self.lines.append(line)

    def raise_any(self) -> None:
        """Raise SpaceError with the first ten errors, if there are any."""
        if not self.lines:
            return
        more = len(self.lines) - MOST_ERRORS
        raise SpaceError(
            "\n".join(self.lines[:MOST_ERRORS] + ([f"... and {more} more"] if more > 0 else []))
        )


def refuse(value: Value, path: str, text: str) -> SpaceError:
    """Return the error of one value."""
    return SpaceError(_line(value.where, path, text))


def brief(value: Any, most: int = 60) -> str:
    """Return `value` as a message shows it."""
    text = repr(value.plain() if isinstance(value, Value) else value)
    return text if len(text) <= most else text[: most - 3] + "..."


def listed(options: Sequence[Any], most: int = 12) -> str:
    """Return options as a message shows them: "a, b, c"."""
    shown = ", ".join(map(str, options[:most]))
    return shown if len(options) <= most else f"{shown}, ... ({len(options)} in all)"


def _line(where: Where | None, path: str, text: str) -> str:
    return ": ".join(str(part) for part in (where, path, text) if part)


def _steps(found: str, token: str) -> list[str]:
    """Return the template paths that a step of a decision's path may mean."""
    token = token if found else token.removeprefix(".")
    return [found + token, f"{found}[]" if token.startswith("[") else f"{found}.*"]
