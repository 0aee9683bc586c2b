"""Strategies: what to try next. Each is an Optuna sampler; how a decision becomes a parameter is here, once for all."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, cast

from nas.errors import NasError, suggest

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler

    from nas.space import Space

Choose = Callable[[str, Sequence[Any]], int]
LABEL = 32


class Strategy(Protocol):
    """Makes the sampler of one suggestion: a new one each time, so that nothing but the study carries over."""

    def __call__(self, seed: int) -> BaseSampler:
        """Return a sampler seeded with `seed`, which follows from the run's seed and the trial's number."""
        ...


STRATEGIES: dict[str, str] = {
    name: f"nas.strategies.{name}" for name in ("tpe", "nsga2", "random", "differentiable")
}


def find(name: str) -> Strategy:
    """Return the strategy called `name`; raises NasError with the closest known name."""
    if name not in STRATEGIES:
        raise NasError(f"no strategy is called {name!r}; {suggest(name, STRATEGIES)}")
    return cast(Strategy, importlib.import_module(STRATEGIES[name]).sampler)


def chooser(trial: optuna.Trial) -> Choose:
    """Return a chooser that asks the trial: ordered numbers as an integer index, everything else as a category."""

    def choose(path: str, options: Sequence[Any]) -> int:
        if len(options) == 1:
            return 0
        if is_ordered(options):
            return trial.suggest_int(path, 0, len(options) - 1)
        names = labels(options)
        return names.index(trial.suggest_categorical(path, names))

    return choose


def parameters(space: Space, decisions: Mapping[str, int]) -> dict[str, Any]:
    """Return the parameters with which `chooser` makes these decisions again."""
    from nas.choosers import replay
    from nas.resolve import resolve

    found: dict[str, Any] = {}
    again = replay(decisions)

    def choose(path: str, options: Sequence[Any]) -> int:
        index = again(path, options)
        assert index is not None, path
        if len(options) > 1:
            found[path] = index if is_ordered(options) else labels(options)[index]
        return index

    resolve(space, choose)
    return found


def is_ordered(options: Sequence[Any]) -> bool:
    """Return whether the options are rising numbers."""
    if any(isinstance(o, bool) or not isinstance(o, int | float) for o in options):
        return False
    return all(a < b for a, b in pairwise(options))


def labels(options: Sequence[Any]) -> list[str]:
    """Return a short name for each option: its kind, or its value; with its position where that is not enough."""
    names = [_label(option) for option in options]
    return [n if names.count(n) == 1 else f"{n}#{i}" for i, n in enumerate(names)]


def _label(option: Any) -> str:
    if isinstance(option, Mapping) and len(option) == 1:
        return str(next(iter(option)))
    text = (
        option
        if isinstance(option, str)
        else json.dumps(option, separators=(",", ":"), default=str)
    )
    return text if len(text) <= LABEL else text[: LABEL - 1] + "…"
