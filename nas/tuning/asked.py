"""What was asked of a tuning, as it stands in `tune.json`: a tuning goes on as the one that it was, or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.atomic import write_atomic
from nas.errors import RunError, suggest
from nas.recipe import Recipe
from nas.tuning.ledger import DEFAULT, Training
from nas.tuning.vary import Vary, base_values, check_population, draw

SCHEMA = 1
SETTINGS = "tune.json"
SCHEDULERS = ("asha", "pbt")
SHARE = 3
"""ASHA: one training in so many goes on from each rung to the next."""
SMALLEST_POPULATION = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """All that decides what a tuning finds; `architecture` is canonical JSON, `split` None a part of the training one.

    Raises RunError for a scheduler that there is none of, or too few trainings.
    """

    architecture: str
    data: str
    size: tuple[int, int]
    split: str | None
    split_seed: int
    recipe: Recipe
    vary: Vary
    scheduler: str = "asha"
    samples: int = 12
    seed: int = 0
    budget_seconds: float | None = None
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scheduler not in SCHEDULERS:
            raise RunError(
                f"no scheduler is called {self.scheduler!r}; {suggest(self.scheduler, SCHEDULERS)}"
            )
        least = SMALLEST_POPULATION if self.scheduler == "pbt" else 1
        if self.samples < least:
            raise RunError(
                f"{self.scheduler} takes at least {least} samples beside the default, got {self.samples}"
            )
        if self.scheduler == "pbt":
            check_population(self.vary, self.recipe)

    @property
    def epochs(self) -> int:
        """The most epochs of one training."""
        return self.recipe.epochs

    def trainings(self) -> list[Training]:
        """Return the trainings of the search: the default recipe first, then what the seed draws."""
        values = [draw(self.vary, self.seed, n) for n in range(1, self.samples + 1)]
        default = Training(DEFAULT, base_values(self.vary, self.recipe), self.seed, "default")
        return [default, *(Training(n, v, self.seed) for n, v in enumerate(values, 1))]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "architecture": json.loads(self.architecture),
            "data": self.data,
            "size": list(self.size),
            "split": self.split,
            "split_seed": self.split_seed,
            "recipe": self.recipe.to_dict(),
            "vary": {name: str(part) for name, part in self.vary.items()},
            "scheduler": self.scheduler,
            "samples": self.samples,
            "seed": self.seed,
            "budget_seconds": self.budget_seconds,
            "plugins": list(self.plugins),
        }


def first_rung(epochs: int) -> int:
    """Return after how many epochs ASHA stops the first trainings; further rungs are at 3 and 9 times as many."""
    return max(1, epochs // SHARE**2)


def interval(epochs: int) -> int:
    """Return every how many epochs a population looks at its worst."""
    return max(1, round(epochs / 8))


def begin(folder: Path, asked: Asked, *, resume: bool, facts: Mapping[str, Any]) -> None:
    """Write what is asked, or check that it is what was asked before.

    Raises RunError where a tuning is there and `resume` is not set, or where it is another one.
    """
    file = folder / SETTINGS
    wanted = asked.to_dict()
    if not file.is_file():
        content = {"schema": SCHEMA, **wanted, **facts}
        write_atomic(file, (json.dumps(content, indent=2) + "\n").encode())
        return
    if not resume:
        raise RunError(
            f"{folder} holds a tuning already: --resume goes on with it, --overwrite begins anew"
        )
    found = _read(file)
    for name, value in wanted.items():
        if found.get(name) != value:
            what = f"another {name} ({_difference(found.get(name), value)})"
            raise RunError(f"{folder} holds a tuning with {what}; resume it with the same")


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        schema = found["schema"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(
            f"{file}: cannot be read ({error}), so there is nothing to resume"
        ) from error
    if schema != SCHEMA:
        raise RunError(f"{file} has schema {schema!r}, this version reads {SCHEMA}")
    return dict(found)


def _difference(before: Any, now: Any) -> str:
    """Return what differs between two settings, by name where they have names."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return f"{before} there, {now} asked"
    names = [n for n in {**before, **now} if before.get(n) != now.get(n)]
    return ", ".join(f"{n}: {before.get(n)} there, {now.get(n)} asked" for n in names)
