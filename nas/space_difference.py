"""What differs between two search spaces, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff

from nas.space import Space

MOST = 24
"""Lines that are shown at most."""


def difference(before: Space, after: Space) -> str:
    """Return the lines that are gone (-) and that are new (+) with a line around each, bases merged in."""
    lines = list(_changed(before.text.splitlines(), after.text.splitlines()))
    more = [f"... and {len(lines) - MOST} more lines"] if len(lines) > MOST else []
    return "\n".join([*lines[:MOST], *more])


def _changed(before: list[str], after: list[str]) -> Iterator[str]:
    for line in unified_diff(before, after, n=1, lineterm=""):
        if not line.startswith(("---", "+++")):
            yield "..." if line.startswith("@@") else line
