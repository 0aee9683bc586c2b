"""What a planner remembers: every leaf, and the parts of those kinds that recur.

Most large parts (an encoder, a whole decoder) never come up again, and remembering them is not free: writing the key
takes longer the larger they are, and the garbage collector walks what is kept again and again. So a part is at first
kept for one plan only. Once more than a tenth of a kind's parts were drawn before, its parts are kept; a kind of which
that is not true after `TRIED` parts is drawn without asking for `RESTS` of them, and then looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.leaf import Leaf
    from nas.parts import Feature, Part, Ref

MOST = 50_000
"""Leaves and parts kept before all are forgotten: some hundred megabytes at most."""

TRIED, RESTS = 1000, 4000
"""Parts of a kind after which it is known whether they recur, and parts for which that is believed."""


@dataclass(slots=True, eq=False)  # frozen ones take four times as long to make
class Known:
    """What a use comes to, wherever it stands: a kind's name behind a dot, a leaf or part, and what `add` returns.

    `image` are the inputs before those that it was given; the references in `result` have no meaning. A leaf on an
    input that is not alive has no body. `placed` is the result as that of node i, by i; `habit` its kind's, of a part
    that is kept for one plan.
    """

    suffix: str
    body: Leaf | Part | None
    image: tuple[Ref, ...]
    result: Any
    placed: dict[int, Feature] = field(default_factory=dict)
    habit: Habit | None = None


@dataclass(slots=True)
class Habit:
    """How many parts of a kind were drawn, and how many of them had been drawn before; `seen` holds their hashes.

    `spared` is how often one was found that this very plan had drawn; `rests` are the parts still to come that nobody
    asks about.
    """

    drawn: int = 0
    again: int = 0
    spared: int = 0
    rests: int = 0
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
    """Uses by key: `kept` for good, `passing` until the next plan. `rare` are kinds that are drawn without asking."""

    def __init__(self) -> None:
        self.kept: dict[bytes, Known] = {}
        self.passing: dict[bytes, Known] = {}
        self.rare: set[str] = set()
        self._habits: dict[str, Habit] = {}

    def keep(self, key: bytes, known: Known) -> Known:
        """Remember what a use comes to; return it."""
        if len(self.kept) >= MOST:
            self.kept.clear()
        self.kept[key] = known
        return known

    def keep_if_recurring(self, kind: str, key: bytes, known: Known) -> Known:
        """Remember a part of a kind: for this plan, or for good if such parts recur; return it.

        Without a key it is not remembered, as its kind is rare.
        """
        habit = self._habits.get(kind) or self._habits.setdefault(kind, Habit())
        if not key:
            self._rest(kind, habit)
        elif habit.recurs(key):
            self.keep(key, known)
        else:
            known.habit = habit
            self.passing[key] = known
            if habit.drawn >= TRIED and habit.spared * 10 <= habit.drawn:
                habit.rests = RESTS
                self.rare.add(kind)
        return known

    def passed(self, key: bytes) -> Known | None:
        """Return what this plan has drawn under the key, and note that it comes again."""
        known = self.passing.get(key)
        if known is not None and known.habit is not None:
            known.habit.spared += 1
        return known

    def _rest(self, kind: str, habit: Habit) -> None:
        habit.rests -= 1
        if habit.rests <= 0:
            habit.drawn = habit.again = habit.spared = 0
            self.rare.discard(kind)
