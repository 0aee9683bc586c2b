"""What crosses between the driver and a worker: a job out, events back. Plain data, picklable, no PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from nas.run import Settings

GROUNDWORK = -1
"""The number of a job that is no trial: what a strategy needs before it can propose."""
State = Literal["complete", "failed", "stopped", "died"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One architecture to score, with all that a worker needs for it.

    `architecture` is canonical JSON. `evaluator` is a name for `nas.evaluators.find`. `split` names the split to score
    on; None is the held-back part of the training split that `search_split(split_seed)` gives. `seconds_left` counts
    from the moment when the worker receives the job; None is no deadline. `plugins` are the user's own Python files,
    imported once per worker process before the first job. `given` is what else the evaluator needs, plain data.
    """

    number: int
    architecture: str
    seed: int
    evaluator: str = "short_training"
    data: str = "street"
    split: str | None = None
    split_seed: int = 0
    size: tuple[int, int] = (128, 256)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    cache: Path = Path("cache")
    device: str = "cpu"
    folder: Path | None = None
    seconds_left: float | None = None
    plugins: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, cache: Path, **given: Any) -> Job:
        """Return a job of the run with these settings; `given` are the fields that differ from job to job."""
        shared = {
            "evaluator": settings.evaluator,
            "data": settings.data,
            "split": settings.split,
            "split_seed": settings.seed,
            "size": settings.size,
            "recipe": settings.recipe,
            "cache": cache,
            "device": settings.device,
            "plugins": settings.plugins,
        }
        return cls(**shared | given)


@dataclass(frozen=True, slots=True)
class Epoch:
    """Progress of the running job `number`: what its evaluator yielded last ({"epoch": 3, "loss": ..., ...})."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """How the job `number` ended.

    `metrics` is the last dict that the evaluator yielded ("complete" only), `epochs` all that it yielded before;
    `error` is {"type", "text", "traceback"} for "failed" and "died" (the worker process is gone: killed, out of
    memory, crash).
    """

    number: int
    state: State
    metrics: Mapping[str, Any] = field(default_factory=dict)
    epochs: tuple[Mapping[str, Any], ...] = ()
    error: Mapping[str, str] | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person should know of the workers: a node is gone, none is free."""

    text: str


Event = Epoch | Result | Note


class Stop:
    """What an evaluator asks before each step; remembers whether it ever said yes."""

    def __init__(self, asked: Callable[[], bool], seconds_left: float | None = None) -> None:
        self._asked = asked
        self._end = None if seconds_left is None else time.monotonic() + seconds_left
        self.told = False

    def __call__(self) -> bool:
        """Return whether the job is to end now."""
        late = self._end is not None and time.monotonic() >= self._end
        self.told = self.told or late or self._asked()
        return self.told
