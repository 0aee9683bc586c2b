"""The supernet of a differentiable search, trained from one snapshot to the next; what it points to is the result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch

from nas.architecture import Architecture
from nas.atomic import write_atomic
from nas.evaluators import evaluator
from nas.evaluators.splits import Splits, Warm
from nas.fix import fixed
from nas.job import Job
from nas.parallel.join import check_parts, placed
from nas.parallel.launch import launch
from nas.parallel.ranks import ALONE, Ranks
from nas.recipe import Recipe
from nas.relax.mixable import Relaxed, relax
from nas.relax.schedule import Schedule
from nas.relax.training import Training
from nas.space import parse
from nas.train import Stopped


@evaluator("supernet")
class Supernets:
    """Trains a supernet to a snapshot.

    `job.given` holds the space's text, what is fixed in it, the schedule (plain data), the branch and the epoch; an
    epoch of 0 asks for the time and memory of a few steps instead.
    Where the schedule has several workers, they are processes of this machine, which end with the snapshot.
    Its checkpoints lie in the job's folder, one per branch and one for the shared warm-up, written at the end of an
    epoch every `KEPT_EVERY` seconds and at each snapshot, and stay there. So does the result: asked again, it is read.
    """

    def __init__(self, ranks: Ranks = ALONE) -> None:
        self._ranks = ranks
        self._warm = Warm()
        self._known: tuple[Any, Relaxed] | None = None

    def evaluate(
        self,
        architecture: Architecture,  # noqa: ARG002 - it is what will be found
        job: Job,
        stop: Callable[[], bool],
    ) -> Iterator[Mapping[str, Any]]:
        """Yield a row per epoch; last, what `Training.found` returns."""
        splits = self._warm.splits(job)
        if self._ranks.number == 1 and Schedule.of(job.given["schedule"]).workers > 1:
            yield from _together(job, stop)
            return
        training = Training(job, splits, self._relaxed(job, splits), self._ranks)
        if training.snapshot.epoch == 0:
            if not stop():
                yield training.probe()
            return
        if training.result.exists():
            yield json.loads(training.result.read_text(encoding="utf-8"))
            return
        try:
            yield from training.rows(stop)
            if not self._ranks.leads:
                return
            found = training.found(stop)
        except Stopped:
            return
        write_atomic(training.result, json.dumps(found).encode())
        yield found

    def _relaxed(self, job: Job, splits: Splits) -> Relaxed:
        """Return the relaxed space, planned once per worker."""
        key = (job.given["space"], tuple(job.given["fixed"].items()), job.size, splits.task.classes)
        if self._known is None or self._known[0] != key:
            space = parse(job.given["space"]).with_classes(len(splits.task.classes))
            space = fixed(space.with_input((3, *job.size)), job.given["fixed"])
            self._known = key, relax(space, job.size)
        return self._known[1]


def _together(job: Job, stop: Callable[[], bool]) -> Iterator[Mapping[str, Any]]:
    """Yield what the ranks of the schedule's workers find."""
    workers = Schedule.of(job.given["schedule"]).workers
    check_parts(Recipe.of(job.recipe).batch, workers, ALONE, torch.device(job.device))
    with closing(launch("nas.evaluators.supernet:as_rank", job, number=workers, stop=stop)) as told:
        yield from told


def as_rank(
    ranks: Ranks, stop: Callable[[], bool], tell: Callable[[Mapping[str, Any]], None], job: Job
) -> None:
    """Take one rank's part in training a supernet to a snapshot; tell what `Supernets.evaluate` yields."""
    ranks, device = placed(ranks, torch.device(job.device))
    for found in Supernets(ranks).evaluate(
        Architecture(""), replace(job, device=str(device)), stop
    ):
        tell(found)
