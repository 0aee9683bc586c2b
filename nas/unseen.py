"""Networks within the limits that no trial has had: repaired, drawn at random, or what is left of a small space.

They stand in for what the strategy proposes where that is over a limit, or known again and again. All follow from the
space, the trials on record and a seed, so a resumed run finds the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

from nas.architecture import Architecture
from nas.descent import within_reach
from nas.draws import Drawer, Drawn, first
from nas.errors import LimitError
from nas.language.decide import decide
from nas.problem import Limits
from nas.repair import Repair

LISTED = 10_000
"""Spaces up to this size are counted out, once little seems to be left: then it is known what."""
DRAWS = 1_000
"""Random architectures that are looked at for a new one within the limits."""
REPAIRS = 5
"""Times that one proposal is repaired, in different ways, until it gives a network that is new."""
OTHERS = 25
"""Random architectures that are repaired where a proposal gave nothing new, or random ones rarely fit."""
CHANGES = 1_000
"""Single changes to known networks within the limits that are tried last."""


@dataclass(eq=False)
class Unseen:
    """Looks for networks of a space; `is_taken` tells of a digest whether a trial has it already.

    Once a search for one has failed, `used_up` says why.
    """

    drawer: Drawer
    limits: Limits
    is_taken: Callable[[str], bool]
    used_up: str = field(default="", init=False)
    _impossible: str = field(default="", init=False)

    def repaired(self, proposal: Architecture, rng: Random) -> Drawn | None:
        """Return a network within the limits that is close to `proposal`; None where each is taken already."""
        start, repair = self._drawn(proposal), self._repair
        if start is None or repair is None:
            return None
        return self._new(repair.repaired(start, rng) for _ in range(REPAIRS))

    def other(self, known: Sequence[str], rng: Random, *, rarely_fit: bool) -> Drawn | None:
        """Return any network within the limits; `rarely_fit` says that drawing at random is no use.

        `known` are the texts of architectures within the limits. Sets `used_up` where it finds none.
        """
        found = None if rarely_fit else self._new(self.drawer.random(rng, DRAWS))
        if found is None and self.limits.items() and (repair := self._repair) is not None:
            starts = self.drawer.random(rng, OTHERS)
            found = self._new(repair.repaired(start, rng) for start in starts)
            found = found or self._new(self._changes(known, rng))
        if found is None and self.drawer.space.size() <= LISTED:
            found = self.any_left(rng)
        if found is None:
            self.used_up = self._impossible or self.used_up or self._why(len(known))
        return found

    def any_left(self, rng: Random) -> Drawn | None:
        """Return any network that is left of a space that is counted out. Sets `used_up` where there is none."""
        if left := self.left():
            return self._drawn(rng.choice(left))
        number = len(self.networks)
        self.used_up = (
            f"the space is used up: {number} networks of it fit the limits, and all are scored"
        )
        return None

    def left(self) -> list[Architecture]:
        """Return what no trial has had, of all networks of a space that is small enough to be counted out."""
        return [a for digest, a in self.networks.items() if not self.is_taken(digest)]

    @cached_property
    def networks(self) -> dict[str, Architecture]:
        """Every network of the space that is within the limits, by digest."""
        found: dict[str, Architecture] = {}
        for architecture in self.drawer.space.enumerate():
            drawn = self._drawn(architecture)
            if drawn is not None and drawn.excess(self.limits) <= 0.0:
                found.setdefault(drawn.counted.digest, architecture)
        return found

    @cached_property
    def _repair(self) -> Repair | None:
        """None where no architecture is within the limits, or none can be built; `_impossible` says which."""
        rng = Random(0)
        starts = list(self.drawer.random(rng, OTHERS))
        try:
            if not starts:
                raise LimitError(
                    f"none of {OTHERS} random architectures can be built: {self.drawer.broken[-1]}"
                )
            model = within_reach(self.drawer, self.limits, starts, rng)
        except LimitError as error:
            self._impossible = str(error)
            return None
        return Repair(self.drawer, self.limits, model)

    def _new(self, drawn: Iterable[Drawn]) -> Drawn | None:
        """Return the first that is within the limits and not taken."""
        self.drawer.broken.clear()
        fitting = (d for d in drawn if d.excess(self.limits) <= 0.0)
        return next((d for d in fitting if not self.is_taken(d.counted.digest)), None)

    def _changes(self, known: Sequence[str], rng: Random) -> Iterator[Drawn]:
        """Yield known networks with one decision changed, in random order."""
        changes = self._all_changes(rng.sample(known, len(known)))
        for _, drawn in zip(range(CHANGES), changes, strict=False):
            if drawn is not None:
                yield drawn

    def _all_changes(self, known: Sequence[str]) -> Iterator[Drawn | None]:
        for text in known:
            drawn = self._drawn(Architecture(text))
            if drawn is None:
                continue
            for path, decision in drawn.decisions.items():
                for i in range(len(decision.options)):
                    if i != decision.taken:
                        yield self.drawer.flipped(drawn, path, i, first)

    def _drawn(self, architecture: Architecture) -> Drawn | None:
        return self.drawer.draw(decide(self.drawer.space, architecture), first)

    def _why(self, scored: int) -> str:
        """Return why nothing was found."""
        looked = f"{DRAWS} random architectures"
        if self.limits.items():
            looked = f"{OTHERS} repaired architectures and up to {CHANGES} changes of these"
        return f"the space is used up: {scored} networks within the limits are scored, and {looked} gave no other"
