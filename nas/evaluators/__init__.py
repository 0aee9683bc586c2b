"""How an architecture is scored: a protocol, and the evaluators by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from nas.architecture import Architecture
from nas.errors import NasError, suggest
from nas.job import Job


class Evaluator(Protocol):
    """Scores one architecture after another; one instance lives as long as its worker and may keep data warm."""

    def evaluate(
        self, architecture: Architecture, job: Job, stop: Callable[[], bool]
    ) -> Iterator[Mapping[str, Any]]:
        """Yield one dict of metrics per epoch, the last one with the objectives' values.

        Ask `stop()` before each step and end, by return or exception, once it has answered True. What is raised is
        the trial's outcome, never the search's.
        """
        ...


E = TypeVar("E", bound=Callable[[], Evaluator])

EVALUATORS: dict[str, Callable[[], Evaluator]] = {}
BUILT_IN = {
    "short_training": "nas.evaluators.short_training",
    "one_step": "nas.evaluators.one_step",
    "node_check": "nas.evaluators.node_check",
    "supernet": "nas.evaluators.supernet",
    "table": "nas.evaluators.table",
}


def evaluator(name: str) -> Callable[[E], E]:
    """Register a class without constructor arguments as the evaluator `name`; a duplicate is refused."""

    def register(make: E) -> E:
        if name in EVALUATORS or (name in BUILT_IN and make.__module__ != BUILT_IN[name]):
            raise NasError(f"evaluator {name!r} is registered twice; rename {make!r}")
        EVALUATORS[name] = make
        return make

    return register


def find(name: str) -> Callable[[], Evaluator]:
    """Return the evaluator called `name`, importing it if it is ours; raises NasError with the closest name.

    What stands behind a colon ("table:FILE") is the evaluator's own business, which finds it in its jobs.
    """
    name = name.partition(":")[0]
    if name in BUILT_IN:
        importlib.import_module(BUILT_IN[name])
    if name not in EVALUATORS:
        known = sorted({*EVALUATORS, *BUILT_IN})
        raise NasError(f"no evaluator is called {name!r}; {suggest(name, known)}")
    return EVALUATORS[name]
