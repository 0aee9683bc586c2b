"""Closing a search space with a chooser: what turns a space into an architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nas.architecture import Architecture
from nas.errors import SpaceError
from nas.language.closing import Chooser, Closing
from nas.language.decide import decide
from nas.language.tree import OUTSIDE, Template

__all__ = ["Chooser", "architectures", "closed", "decide", "resolve"]


def resolve(space: Any, choose: Chooser) -> Any:
    """Close a space (or a bare tree without lets); return the Architecture.

    `choose(path, options)` gets a label for each option (kind names, scalars as they are, other values as text) and
    returns an index. It is asked once per path, never about a branch that is not taken, never where there is one option
    only. If it returns None, the node stays open (a walk as a whole, a repeat with its items as they were), and what
    comes back is a space (or tree) again, whose open nodes know their path.
    """
    template = space if isinstance(space, Template) else Template(space)
    closing = Closing(choose, template.lets)
    tree = closing.close(template.tree, "", OUTSIDE)
    if not closing.left_open:
        return Architecture.of(tree)
    if space is not template:
        return tree
    return replace(template, tree=tree, lets=closing.open_lets)


def architectures(space: Template) -> Iterator[Architecture]:
    """Yield every architecture of a space once, lazily: the last question that was asked changes first."""
    made: dict[str, int] = {}
    while True:
        asked: list[tuple[str, int]] = []

        def choose(
            path: str, options: Sequence[Any], made: Mapping[str, int] = made, asked: Any = asked
        ) -> int:
            asked.append((path, len(options)))
            return made.get(path, 0)

        yield closed(space, choose)
        while asked and made.get(asked[-1][0], 0) == asked[-1][1] - 1:
            asked.pop()
        if not asked:
            return
        made = {path: made.get(path, 0) for path, _ in asked}
        made[asked[-1][0]] += 1


def closed(space: Template, choose: Chooser) -> Architecture:
    """Close a space with a chooser that answers every question; raises SpaceError if it leaves one open."""
    result = resolve(space, choose)
    if not isinstance(result, Architecture):
        raise SpaceError(
            "the chooser left a choice open; this needs a chooser that answers every question"
        )
    return result
