"""What is asked: objectives (what to improve), limits (hard caps on costs) and the budget (when to stop)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from nas.errors import LimitError, suggest

Direction = Literal["maximize", "minimize"]
DIRECTIONS: dict[str, Direction] = {"miou": "maximize", "macs": "minimize", "params": "minimize"}
COSTS = ("macs", "params")

_MULTIPLES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_COUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([kKmMgGtT]?)")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(min|[dhms])")
_TRIALS = re.compile(r"(\d+)\s*(?:trials?|t)")


@dataclass(frozen=True, slots=True)
class Objective:
    """A quantity to improve: "miou" is scored by the evaluator, costs are counted beforehand."""

    name: str
    direction: Direction

    @classmethod
    def of(cls, name: str) -> Objective:
        """Return the objective called `name`; raises LimitError with the closest known one."""
        if name not in DIRECTIONS:
            raise LimitError(f"no objective is called {name!r}; {suggest(name, DIRECTIONS)}")
        return cls(name, DIRECTIONS[name])


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard caps on counted costs; None is no cap."""

    macs: int | None = None
    params: int | None = None

    def items(self) -> list[tuple[str, int]]:
        """Return (cost, cap) of the caps that are set."""
        caps = (("macs", self.macs), ("params", self.params))
        return [(name, cap) for name, cap in caps if cap is not None]

    def excess(self, costs: Mapping[str, int]) -> dict[str, float]:
        """Return how far each capped cost is from its cap, as a share of the cap; within the limit where <= 0."""
        return {name: costs[name] / cap - 1.0 for name, cap in self.items()}

    def broken(self, costs: Mapping[str, int]) -> list[str]:
        """Return one text per broken limit ("macs 2.31 G > 2 G"), none if all hold."""
        over = [(name, cap) for name, cap in self.items() if costs[name] > cap]
        return [f"{name} {show_count(costs[name])} > {show_count(cap)}" for name, cap in over]


@dataclass(frozen=True, slots=True)
class Budget:
    """When the run ends: after so many trained trials, or after so many seconds; the first reached counts."""

    trials: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        parts = [] if self.trials is None else [f"{self.trials}trials"]
        return " ".join(parts if self.seconds is None else [*parts, show_seconds(self.seconds)])

    def raised(self, other: Budget) -> Budget:
        """Return this budget with what `other` sets put in its place."""
        trials = self.trials if other.trials is None else other.trials
        return Budget(trials, self.seconds if other.seconds is None else other.seconds)


@dataclass(frozen=True, slots=True)
class Problem:
    """Objectives, limits and budget of one search."""

    objectives: tuple[Objective, ...]
    limits: Limits = field(default_factory=Limits)
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        names = [o.name for o in self.objectives]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise LimitError(f"objective {twice[0]!r} is given twice; name each once")
        if all(n in COSTS for n in names):
            given = ", ".join(names) or "none"
            raise LimitError(
                f"objectives {given}: nothing to train for; add miou (costs alone are only counted)"
            )

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The direction of each objective, in order."""
        return tuple(o.direction for o in self.objectives)

    def values(self, measured: Mapping[str, float]) -> tuple[float, ...]:
        """Return the objectives' values, in order; raises LimitError where one was not measured."""
        missing = [o.name for o in self.objectives if o.name not in measured]
        if missing:
            got = ", ".join(sorted(measured)) or "nothing"
            raise LimitError(f"the evaluator gave no {missing[0]!r}; it gave: {got}")
        return tuple(float(measured[o.name]) for o in self.objectives)


def make_problem(
    objectives: Iterable[str],
    limits: Mapping[str, str | int | None],
    budget: str | Budget | Iterable[str] = (),
) -> Problem:
    """Return the problem that names and texts describe; raises LimitError for what does not fit."""
    caps: dict[str, int] = {}
    for name, value in limits.items():
        if name not in COSTS:
            raise LimitError(f"no cost is called {name!r}; {suggest(name, COSTS)}")
        if value is not None:
            caps[name] = parse_count(value)
    parsed = budget if isinstance(budget, Budget) else parse_budget(budget)
    return Problem(tuple(Objective.of(n) for n in objectives), Limits(**caps), parsed)


def parse_count(text: str | int) -> int:
    """Return the whole number that "2G", "1.5M", "300k" or 2000000 says (decimal multiples), at least 1."""
    value = float(text) if isinstance(text, int | float) else _count(text)
    if value < 1 or value != round(value):
        raise LimitError(
            f"{text!r} is not a limit: expected a whole number from 1, e.g. 2G, 1.5M, 300k"
        )
    return round(value)


def _count(text: str) -> float:
    found = _COUNT.fullmatch(text.strip().replace("_", ""))
    if found is None:
        raise LimitError(
            f"{text!r} is not a count: expected a number, with K, M, G or T if wanted, e.g. 2G or 1.5M"
        )
    return round(float(found[1]) * _MULTIPLES[found[2].upper()], 6)


def parse_budget(texts: str | Iterable[str]) -> Budget:
    """Return the budget of "30m", "8h", "1h30m", "50trials", or several of them (the first reached ends the search)."""
    items = (
        texts.replace(",", " ").split()
        if isinstance(texts, str)
        else [p for t in texts for p in _split(t)]
    )
    trials: int | None = None
    seconds: float | None = None
    for item in items:
        count = _TRIALS.fullmatch(item)
        if (trials if count else seconds) is not None:
            twice = "a number of trials" if count else "a time"
            raise LimitError(f"budget {' '.join(items)!r} gives {twice} twice; keep one of them")
        if count:
            trials = int(count[1])
        else:
            seconds = _duration(item)
    if trials == 0 or seconds == 0:
        raise LimitError(
            f"budget {' '.join(items)!r} leaves nothing to do: give at least one trial or one second"
        )
    return Budget(trials, seconds)


def _split(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _duration(text: str) -> float:
    """Return the seconds of "1h30m"."""
    parts = _DURATION.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        expected = "a time (30m, 8h, 1h30m, 90s) or a number of trials (50trials)"
        raise LimitError(f"{text!r} is not a budget: expected {expected}")
    return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))


def show_count(value: float) -> str:
    """Return 1234567 as "1.23 M"; whole numbers under a thousand as they are."""
    for suffix, multiple in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= multiple * 0.9995:
            return f"{value / multiple:.3g} {suffix}"
    return f"{value:g}"


def show_seconds(seconds: float) -> str:
    """Return 5400 as "1h30m", 42.4 as "42s"; what parse_budget reads back, to the second."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{n}{u}" for n, u in ((hours, "h"), (minutes, "m"), (left, "s")) if n]
    return "".join(parts) or "0s"
