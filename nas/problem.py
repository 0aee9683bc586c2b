"""What is asked: objectives (what to improve), limits (hard caps on costs) and the budget (when to stop)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from nas.errors import LimitError, suggest
from nas.units import COSTS, parse_cost, show_cost

Direction = Literal["maximize", "minimize"]
DIRECTIONS: dict[str, Direction] = {"miou": "maximize", **dict.fromkeys(COSTS, "minimize")}

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(min|[dhms])")
_WORDS = {"trials": "a number of trials", "seconds": "a time", "gpu_seconds": "GPU-hours"}
_TRIALS = re.compile(r"(\d+)\s*(?:trials?|t)")
_GPU_HOURS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)gpu-?h(?:ours?)?")


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
    """Hard caps on costs, in the units of `nas.units.COSTS`; None is no cap."""

    macs: int | None = None
    params: int | None = None
    memory: int | None = None
    latency: float | None = None

    def items(self) -> list[tuple[str, float]]:
        """Return (cost, cap) of the caps that are set."""
        caps = ((name, getattr(self, name)) for name in COSTS)
        return [(name, cap) for name, cap in caps if cap is not None]

    def excess(self, costs: Mapping[str, float]) -> dict[str, float]:
        """Return how far each capped cost is from its cap, as a share of the cap; within the limit where <= 0."""
        return {name: costs[name] / cap - 1.0 for name, cap in self.items()}

    def broken(self, costs: Mapping[str, float]) -> list[str]:
        """Return one text per broken limit ("macs 2.31 G > 2 G"), none if all hold."""
        over = [(name, cap) for name, cap in self.items() if costs[name] > cap]
        return [
            f"{name} {show_cost(name, costs[name])} > {show_cost(name, cap)}" for name, cap in over
        ]


@dataclass(frozen=True, slots=True)
class Budget:
    """When the run ends: after so many trained trials, seconds, or seconds of accelerators; the first reached counts.

    A second of half an accelerator is half a second.
    """

    trials: int | None = None
    seconds: float | None = None
    gpu_seconds: float | None = None

    def __str__(self) -> str:
        parts = [] if self.trials is None else [f"{self.trials}trials"]
        parts += [] if self.seconds is None else [show_seconds(self.seconds)]
        parts += [] if self.gpu_seconds is None else [f"{self.gpu_seconds / 3600:g}gpu-hours"]
        return " ".join(parts)

    def raised(self, other: Budget) -> Budget:
        """Return this budget with what `other` sets put in its place."""
        given = {name: value for name, value in asdict(other).items() if value is not None}
        return replace(self, **given)


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

    @property
    def costs(self) -> tuple[str, ...]:
        """What is counted of every architecture: MACs and parameters, and whatever is limited or an objective."""
        asked = {*dict(self.limits.items()), *(o.name for o in self.objectives)}
        return tuple(name for name in COSTS if name in {"macs", "params"} | asked)

    def values(self, measured: Mapping[str, float]) -> tuple[float, ...]:
        """Return the objectives' values, in order; raises LimitError where one was not measured."""
        missing = [o.name for o in self.objectives if o.name not in measured]
        if missing:
            got = ", ".join(sorted(measured)) or "nothing"
            raise LimitError(f"the evaluator gave no {missing[0]!r}; it gave: {got}")
        return tuple(float(measured[o.name]) for o in self.objectives)


def make_problem(
    objectives: Iterable[str],
    limits: Mapping[str, str | float | None],
    budget: str | Budget | Iterable[str] = (),
) -> Problem:
    """Return the problem that names and texts describe; raises LimitError for what does not fit."""
    caps: dict[str, Any] = {}
    for name, value in limits.items():
        if name not in COSTS:
            raise LimitError(f"no cost is called {name!r}; {suggest(name, COSTS)}")
        if value is not None:
            caps[name] = parse_cost(name, value)
    parsed = budget if isinstance(budget, Budget) else parse_budget(budget)
    return Problem(tuple(Objective.of(n) for n in objectives), Limits(**caps), parsed)


def parse_budget(texts: str | Iterable[str]) -> Budget:
    """Return the budget of "30m", "8h", "1h30m", "50trials", "40gpu-hours", or several of them (the first one reached).

    Raises LimitError for a text that is none of these, for two of a kind, and for nothing at all of something.
    """
    items = _split(texts) if isinstance(texts, str) else [p for t in texts for p in _split(t)]
    given: dict[str, Any] = {}
    for item in items:
        name, value = _part(item)
        if name in given:
            raise LimitError(
                f"budget {' '.join(items)!r} gives {_WORDS[name]} twice; keep one of them"
            )
        given[name] = value
    if 0 in given.values():
        raise LimitError(
            f"budget {' '.join(items)!r} leaves nothing to do: give at least one trial or one second"
        )
    return Budget(**given)


def _part(item: str) -> tuple[str, float]:
    """Return the field of `Budget` that a text is about, and its value."""
    if count := _TRIALS.fullmatch(item):
        return "trials", int(count[1])
    if hours := _GPU_HOURS.fullmatch(item):
        return "gpu_seconds", float(hours[1]) * 3600
    return "seconds", _duration(item)


def _split(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _duration(text: str) -> float:
    """Return the seconds of "1h30m"."""
    parts = _DURATION.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        expected = "a time (30m, 8h, 1h30m, 90s), a number of trials (50trials) or of GPU-hours (40gpu-hours)"
        raise LimitError(f"{text!r} is not a budget: expected {expected}")
    return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))


def show_seconds(seconds: float) -> str:
    """Return 5400 as "1h30m", 42.4 as "42s"; what parse_budget reads back, to the second."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{n}{u}" for n, u in ((hours, "h"), (minutes, "m"), (left, "s")) if n]
    return "".join(parts) or "0s"
