"""What every evaluator trains and scores on: the two parts of a data set that a search may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas.architecture import Architecture
from nas.job import Job
from nas.registry import domain
from nas.task import Task


@dataclass(frozen=True, slots=True)
class Splits:
    """A task with its prepared images to train on and to score on (memory-mapped, so that they take none)."""

    task: Task
    train: Any
    score: Any
    size: tuple[int, int]

    def fit(self, architecture: Architecture) -> Architecture:
        """Return the architecture for this data's classes and size."""
        return architecture.with_classes(len(self.task.classes)).with_input((3, *self.size))


class Warm:
    """Opens the data that a job asks for, and keeps it for the next job that asks for the same."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._splits: Splits | None = None

    def splits(self, job: Job) -> Splits:
        """Return what the job trains and scores on; raises DataError where the data is broken."""
        key = (job.data, job.split, job.split_seed, job.size, job.cache)
        if self._splits is None or self._key != key:
            self._key, self._splits = key, open_splits(job)
        return self._splits


def open_splits(job: Job) -> Splits:
    """Prepare the job's data: decoded once per cache folder, whoever asks first."""
    data = domain().open_data(job.data)
    if job.split is None:
        train, score = data.search_split(job.split_seed)
    else:
        train, score = data.split("train"), data.split(job.split)
    prepare = domain().prepare
    return Splits(
        domain().make_task(data),
        prepare(data, train, job.size, job.cache),
        prepare(data, score, job.size, job.cache),
        job.size,
    )
