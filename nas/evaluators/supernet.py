"""The supernet of a differentiable search, trained from one snapshot to the next; what it points to is the result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.architecture import Architecture
from nas.atomic import write_atomic
from nas.checkpoint import load_checkpoint, save_checkpoint
from nas.choosers import record
from nas.errors import TrainingError
from nas.evaluators import evaluator
from nas.evaluators.one_step import TIMED_STEPS, peak_bytes
from nas.evaluators.short_training import KEPT_EVERY, until
from nas.evaluators.splits import Splits, Warm
from nas.fix import fixed
from nas.job import Job
from nas.recipe import Recipe
from nas.registry import domain
from nas.relax.decode import decoder
from nas.relax.mixable import Relaxed, relax
from nas.relax.one_hot_score import one_hot_score
from nas.relax.room import check_room, free_bytes, room
from nas.relax.schedule import Schedule, Snapshot
from nas.relax.supernet import Supernet
from nas.resolve import closed
from nas.space import parse
from nas.train import State, Stopped, train

WARM = "warm.pt"
SETTLE = 8
"""Batches from which the batch norms of a decoded architecture take their statistics."""


@evaluator("supernet")
class Supernets:
    """Trains a supernet to a snapshot.

    `job.given` holds the space's text, what is fixed in it, the schedule (plain data), the branch and the epoch; an
    epoch of 0 asks for the time and memory of a few steps instead.
    Its checkpoints lie in the job's folder, one per branch and one for the shared warm-up, written at the end of an
    epoch every `KEPT_EVERY` seconds and at each snapshot, and stay there. So does the result: asked again, it is read.
    """

    def __init__(self) -> None:
        self._warm = Warm()
        self._known: tuple[Any, Relaxed] | None = None

    def evaluate(
        self,
        architecture: Architecture,  # noqa: ARG002 - it is what will be found
        job: Job,
        stop: Callable[[], bool],
    ) -> Iterator[Mapping[str, Any]]:
        """Yield a row per epoch, last {"branch", "epoch", "decisions", "supernet_miou", "expected", "collapsed"}."""
        splits = self._warm.splits(job)
        training = Training(job, splits, self._relaxed(job, splits))
        if training.snapshot.epoch == 0:
            if not stop():
                yield training.probe()
            return
        if training.result.exists():
            yield json.loads(training.result.read_text(encoding="utf-8"))
            return
        try:
            yield from training.rows(stop)
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


@dataclass(frozen=True)
class Training:
    """One branch of a supernet on its way to a snapshot."""

    job: Job
    splits: Splits
    relaxed: Relaxed

    @cached_property
    def schedule(self) -> Schedule:
        """Epochs, snapshots and mixing."""
        return Schedule.of(self.job.given["schedule"])

    @cached_property
    def snapshot(self) -> Snapshot:
        """What is asked for."""
        return Snapshot(self.job.given["branch"], self.job.given["epoch"])

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the trials, over the supernet's epochs; weights are not averaged, their mixture changes."""
        return replace(Recipe.of(self.job.recipe), epochs=self.schedule.length, ema=0.0)

    @cached_property
    def supernet(self) -> Supernet:
        """The network with its architecture parameters, as they are at the start."""
        with torch.random.fork_rng():
            torch.manual_seed(self.job.seed)
            mixing = self.schedule.branches[self.snapshot.branch]
            asked = self.relaxed.asked.values()
            return Supernet(self.relaxed.plan, asked, mixing, self.job.seed)

    @cached_property
    def halves(self) -> tuple[list[int], list[int]]:
        """Numbers of the images that weights learn from, and of those that the architecture learns from."""
        number = len(self.splits.train)
        order = np.random.default_rng([self.job.seed, 2]).permutation(number).tolist()
        if number // 2 < self.recipe.batch:
            raise TrainingError(
                f"weights and architecture learn from half of the {number} images each, which is less than a batch of "
                f"{self.recipe.batch}; choose a smaller batch"
            )
        return order[: number // 2], order[number // 2 : 2 * (number // 2)]

    @property
    def folder(self) -> Path:
        """Where checkpoints and results lie."""
        assert self.job.folder is not None
        return self.job.folder

    @property
    def result(self) -> Path:
        """What is known of the snapshot once it is reached."""
        return self.folder / f"{self.snapshot.name}.json"

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.halves[0]) // self.recipe.batch

    def rows(self, stop: Callable[[], bool]) -> Iterator[Mapping[str, Any]]:
        """Train up to the snapshot; yield each epoch's row, with those of before a kill."""
        start = self._start()
        done = [] if start is None else start.rows
        yield from (self._named(row) for row in done)
        if start is not None and start.epoch >= self.snapshot.epoch:
            self.supernet.to(self.job.device).load_state_dict(start.network)
            return
        rows = train(
            self.supernet,
            self.splits.task,
            self._batches,
            self.recipe,
            steps_per_epoch=self.steps,
            seed=self.job.seed,
            device=self.job.device,
            start=start,
            stop=stop,
            keep=self._keeper(),
        )
        for row in rows:
            yield self._named(row)
            if row["epoch"] >= self.snapshot.epoch:
                return

    def found(self, stop: Callable[[], bool]) -> dict[str, Any]:
        """Return the architecture that the supernet points to now, with the score that it has there."""
        probabilities = {
            p: v.tolist() for p, v in self.supernet.architecture.probabilities().items()
        }
        decisions: dict[str, int] = {}
        chooser: Any = record(decoder(self.relaxed.space, probabilities), decisions)
        closed(self.relaxed.space, chooser)
        batch, start = self.recipe.batch, time.perf_counter()
        settle = islice(self._images(0, self.halves[0]), SETTLE)
        held = until(stop, domain().validation(self.splits.score, batch, self.job.device))
        scores = one_hot_score(
            self.supernet.network,
            self.relaxed.asked,
            decisions,
            self.splits.task,
            settle=settle,
            held=held,
        )
        costs = {name: float(cost) for name, cost in self.supernet.expected_costs().items()}
        return {
            "branch": self.snapshot.branch,
            "epoch": self.snapshot.epoch,
            "decisions": decisions,
            "supernet_miou": scores["miou"],
            "targets": dict(self.supernet.mixing.targets),
            "expected": costs,
            "score_seconds": round(time.perf_counter() - start, 3),
        }

    def probe(self) -> dict[str, Any]:
        """Return seconds of a step of the weights and of one of the architecture, and the peak memory."""
        recipe = replace(self.recipe, epochs=1)
        self.supernet.to(self.job.device)
        size = recipe.crop or self.job.size
        needed = room(self.supernet, self.splits.task, recipe, size)
        check_room(needed, recipe, self.supernet.mixing.form, free_bytes(self.job.device))
        self._timed(recipe, learns=True)
        weights = self._timed(recipe, learns=False)
        return {
            "steps": self.steps,
            "weight_seconds": weights,
            "step_seconds": self._timed(recipe, learns=True),
            "parameters": sum(p.numel() for p in self.supernet.parameters()),
            "needed_bytes": needed.total(recipe.batch),
            "peak_bytes": peak_bytes(self.job.device),
        }

    def _timed(self, recipe: Recipe, *, learns: bool) -> float:
        """Return the seconds of a step; the first call pays for what is loaded at first use."""
        number = min(TIMED_STEPS, self.steps)
        epoch = self.schedule.length - 1 if learns else -1
        start = time.perf_counter()
        batches = islice(self._batches(epoch), number)
        rows = train(
            self.supernet,
            self.splits.task,
            lambda _: batches,
            recipe,
            steps_per_epoch=number,
            seed=self.job.seed,
            device=self.job.device,
        )
        list(rows)
        return (time.perf_counter() - start) / number

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's batches for the weights, each after a step of the architecture on a batch of its own."""
        own, others = (self._images(epoch, half) for half in self.halves)
        return self.supernet.between(
            own, others, self._loss, epoch=epoch, epochs=self.schedule.length
        )

    def _images(self, epoch: int, among: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
        batches: Iterator[tuple[Tensor, Tensor]] = domain().batches(
            self.splits.train,
            self.recipe,
            seed=self.job.seed,
            epoch=max(0, epoch),
            device=self.job.device,
            among=among,
        )
        return batches

    def _loss(self, output: Any, target: Tensor) -> Tensor:
        return self.splits.task.loss(output, target, self.recipe)

    def _start(self) -> State | None:
        """Return the state to go on from: this branch's own, or the end of the shared warm-up."""
        own, warm = self.folder / self._own, self.folder / WARM
        if own.is_file():
            return load_checkpoint(own)
        if not warm.is_file():
            return None
        state = load_checkpoint(warm)
        shared = state.network["_extra_state"]
        shared["multipliers"] = self.supernet.get_extra_state()["multipliers"]
        return state

    @property
    def _own(self) -> str:
        return f"branch-{self.snapshot.branch}.pt"

    def _keeper(self) -> Callable[[State], None]:
        last = time.monotonic()

        def keep(state: State) -> None:
            nonlocal last
            due = state.epoch in {self.schedule.warm, self.snapshot.epoch}
            if due or time.monotonic() - last >= KEPT_EVERY:
                self.folder.mkdir(parents=True, exist_ok=True)
                name = WARM if state.epoch <= self.schedule.warm else self._own
                save_checkpoint(self.folder / name, state)
                last = time.monotonic()

        return keep

    def _named(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {**row, "epochs": self.schedule.length, "branch": self.snapshot.branch}
