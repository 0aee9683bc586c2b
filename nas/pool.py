"""Where trials run, how many at once, and what each one gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from nas.errors import RunError, suggest

RETRIES = {"ray": 3}
"""Times that a trial whose worker died goes out again, if not 1: on a cluster it is mostly not the trial's fault."""
USES = {
    "workers": ("processes", "ray"),
    "cpus_per_trial": ("processes", "ray"),
    "gpus_per_trial": ("processes", "ray"),
    "address": ("ray",),
}
"""The executors that each field means something to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """An executor by name, and what it is given; None is its own default.

    `workers` is the most trials at once, `cpus_per_trial` and `gpus_per_trial` are what one of them takes (half a GPU
    is 0.5), `address` is that of a running Ray cluster ("auto": the one on this machine), `retries` is how often a
    trial goes out again after its worker died.
    """

    executor: str = "local"
    workers: int | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    address: str | None = None
    retries: int | None = None

    def __post_init__(self) -> None:
        for name, executors in USES.items():
            if getattr(self, name) is not None and self.executor in {"local", "processes", "ray"}:
                _check_use(name, self.executor, executors)
        if self.workers is not None and self.workers < 1:
            raise RunError(
                f"workers: expected a number of trials at once from 1, got {self.workers}"
            )
        if self.cpus_per_trial is not None and self.cpus_per_trial <= 0:
            raise RunError(f"cpus per trial: expected more than 0, got {self.cpus_per_trial:g}")
        if self.gpus_per_trial is not None and not _is_gpus(self.gpus_per_trial):
            raise RunError(
                f"GPUs per trial: expected 0, a fraction of one (0.5) or a whole number, got {self.gpus_per_trial:g}"
            )
        if self.retries is not None and self.retries < 0:
            raise RunError(f"retries: expected a number from 0, got {self.retries}")

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Pool:
        """Return the pool of the fields that were said; the executor follows from the others where it was not.

        Raises RunError for a field that is unknown, out of range, or means nothing to the executor.
        """
        unknown = next((name for name in said if name not in cls.__dataclass_fields__), None)
        if unknown is not None:
            known = list(cls.__dataclass_fields__)
            raise RunError(f"a pool has no field {unknown!r}; {suggest(unknown, known)}")
        given = {name: value for name, value in said.items() if value is not None}
        return cls(**{"executor": _implied(given), **given})

    def changed(self, said: Mapping[str, Any]) -> Pool:
        """Return this pool with what was said in its place; another executor starts from its own defaults."""
        if said.get("executor", self.executor) == self.executor:
            return replace(self, **said)
        return Pool.of(said)

    @property
    def tries(self) -> int:
        """How often a trial goes out, at most."""
        return 1 + (RETRIES.get(self.executor, 1) if self.retries is None else self.retries)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: what was said."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _implied(given: Mapping[str, Any]) -> str:
    if "address" in given:
        return "ray"
    return "processes" if USES.keys() & given.keys() else "local"


def _check_use(name: str, executor: str, executors: tuple[str, ...]) -> None:
    if executor not in executors:
        what = f"{name.replace('_', ' ')} means nothing to the executor {executor!r}"
        raise RunError(f"{what}; choose --executor {' or '.join(executors)}, or leave it out")


def _is_gpus(number: float) -> bool:
    return 0 <= number <= 1 or (number > 1 and number == int(number))
