"""What a planner remembers: every leaf, and the parts of those kinds that recur.

Most large parts (an encoder, a whole decoder) never come up again, and a kept part is not free: the garbage collector
walks it again and again. So a part is at first kept for one plan only. Once more than a tenth of a kind's parts were
drawn before, its parts are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.leaf import Leaf
    from nas.parts import Part, Ref

MOST = 50_000
"""Leaves and parts kept before all are forgotten: some hundred megabytes at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What a use comes to, wherever it stands: a kind's name behind a dot, a leaf or part, and what `add` returns.

    `image` are the inputs before those that it was given; the references in `result` have no meaning. A leaf on an
    input that is not alive has no body.
    """

    suffix: str
    body: Leaf | Part | None
    image: tuple[Ref, ...]
    result: Any


@dataclass(slots=True)
class Habit:
    """How many parts of a kind were drawn, and how many of them had been drawn before; `seen` holds their hashes."""

    drawn: int = 0
    again: int = 0
    seen: set[int] = field(default_factory=set)

    def recurs(self, key: bytes) -> bool:
        """Note that a part is drawn; say whether its kind's parts recur."""
        self.drawn += 1
        self.again += hash(key) in self.seen
        if len(self.seen) >= MOST:
            self.seen.clear()
        self.seen.add(hash(key))
        return self.again * 10 > self.drawn


class Memo:
    """Uses by key: `kept` for good, `passing` until the next plan."""

    def __init__(self) -> None:
        self.kept: dict[bytes, Known] = {}
        self.passing: dict[bytes, Known] = {}
        self._habits: dict[Callable[..., Any], Habit] = {}

    def keep(self, key: bytes, known: Known) -> Known:
        """Remember what a use comes to; return it."""
        if len(self.kept) >= MOST:
            self.kept.clear()
        self.kept[key] = known
        return known

    def keep_if_recurring(self, draw: Callable[..., Any], key: bytes, known: Known) -> Known:
        """Remember a part that `draw` made: for this plan, or for good if such parts recur; return it."""
        if draw not in self._habits:
            self._habits[draw] = Habit()
        if self._habits[draw].recurs(key):
            return self.keep(key, known)
        self.passing[key] = known
        return known
