"""What a differentiable search does and when: epochs of the supernet, snapshots that become trials, targets in turn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from nas.errors import RecipeError, suggest
from nas.relax.mixing import Mixing

EPOCHS = 40
"""Of the supernet, where nothing else is said (Auto-DeepLab, section 4.2)."""
SNAPSHOTS = 4


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The architecture that the supernet points to after `epoch` epochs, under the targets of its branch."""

    branch: int
    epoch: int

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"branch-{self.branch}-epoch-{self.epoch}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One supernet: `epochs` in all, of which the first `mixing.warmup` teach only weights.

    From there it goes on once for each combination of `sweep` (cost name to targets), each branch from the same warm
    weights; every branch has `snapshots` at even distances, the last at its end. `epochs` None: `EPOCHS`, or what fits
    the budget. `workers` processes of one machine train it together, with the result of one.
    """

    epochs: int | None = None
    snapshots: int = SNAPSHOTS
    sweep: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    mixing: Mixing = field(default_factory=Mixing)
    workers: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "snapshots", "workers"):
            value = getattr(self, name)
            if value is not None and (
                not isinstance(value, int) or isinstance(value, bool) or value < 1
            ):
                raise RecipeError(
                    f"supernet: {name}: expected a whole number from 1, got {value!r}"
                )
        for name, targets in self.sweep.items():
            twice = [t for t in targets if targets.count(t) > 1]
            if twice:
                raise RecipeError(f"supernet: target {name} {twice[0]:g} is given twice")
        self.branches  # noqa: B018 - each of them is checked as it is made

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Schedule:
        """Return the schedule of plain data: its own fields, and those of `Mixing` beside them.

        Raises RecipeError naming the closest field for one that is unknown.
        """
        plain = ("epochs", "snapshots", "workers")
        own = {k: v for k, v in given.items() if k in plain}
        sweep = given.get("sweep", {})
        if not isinstance(sweep, Mapping):
            raise RecipeError(f"supernet: sweep: expected costs with lists, got {sweep!r}")
        mixed = {k: v for k, v in given.items() if k not in {*plain, "sweep"}}
        known = [*plain, "sweep", *Mixing.__dataclass_fields__]
        for name in mixed:
            if name not in known:
                raise RecipeError(f"supernet: no field is called {name!r}; {suggest(name, known)}")
        targets = {str(k): tuple(map(float, v)) for k, v in sweep.items()}
        return cls(**own, sweep=targets, mixing=Mixing.of(mixed))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `of` reads back."""
        sweep = {name: list(targets) for name, targets in self.sweep.items()}
        own = {"epochs": self.epochs, "snapshots": self.snapshots, "sweep": sweep}
        own |= {"workers": self.workers}
        return {**own, **self.mixing.to_dict()}

    @property
    def length(self) -> int:
        """Epochs of every branch, the shared warm-up included."""
        return EPOCHS if self.epochs is None else self.epochs

    @property
    def warm(self) -> int:
        """Epochs that all branches share."""
        return min(math.ceil(self.mixing.warmup * self.length), self.length)

    @property
    def branches(self) -> tuple[Mixing, ...]:
        """The mixing of each branch, with its targets."""
        combinations = product(*self.sweep.values())
        return tuple(
            replace(
                self.mixing,
                targets={**self.mixing.targets, **dict(zip(self.sweep, combination, strict=True))},
            )
            for combination in combinations
        )

    def all_snapshots(self) -> Iterator[Snapshot]:
        """Yield what becomes of the supernet, in order."""
        learned = self.length - self.warm
        number = max(1, min(self.snapshots, learned))
        marks = [self.warm + learned * (i + 1) // number for i in range(number)]
        for branch in range(len(self.branches)):
            yield from (Snapshot(branch, epoch) for epoch in marks)
