"""The training of a supernet on a job's data: one branch of its schedule, from one snapshot to the next."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.atomic import write_atomic
from nas.checkpoint import load_checkpoint, save_checkpoint
from nas.cost import Counter
from nas.draws import Drawer
from nas.errors import TrainingError
from nas.evaluators.one_step import TIMED_STEPS, peak_bytes
from nas.evaluators.short_training import KEPT_EVERY, until
from nas.evaluators.splits import Splits
from nas.job import Job
from nas.optim import learning_rate
from nas.parallel.loss import loss_of
from nas.parallel.ranks import ALONE, RankLostError, Ranks
from nas.recipe import Recipe
from nas.registry import domain
from nas.relax.aim import Aim, aimed
from nas.relax.decode import decoder
from nas.relax.likely import likely
from nas.relax.mixable import Relaxed
from nas.relax.one_hot_score import one_hot_score
from nas.relax.partial import narrowed
from nas.relax.prices import Prices, latency
from nas.relax.room import check_room, free_bytes, room
from nas.relax.schedule import Schedule, Snapshot
from nas.relax.supernet import Supernet
from nas.relax.watch import collapsed, watched
from nas.train import State, train

WARM = "warm.pt"
SAVING = 0.05
"""Share of the time that may go into checkpoints between snapshots: a large supernet's take long to write."""
SETTLE = 8
"""Batches from which the batch norms of a decoded architecture take their statistics."""


@dataclass(frozen=True)
class Training:
    """One branch of a supernet on its way to a snapshot; where several `ranks` train it, rank 0 keeps and finds."""

    job: Job
    splits: Splits
    relaxed: Relaxed
    ranks: Ranks = ALONE

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
        """The recipe of the trials, over the supernet's epochs; weights are not averaged, their mixture changes.

        Channels do not come last: candidates that run as one stand side by side in them. On a CPU it is fp32 unless
        something is said: a supernet is bound by dispatch there, and casts add to it.
        """
        recipe = Recipe.of(self.job.recipe)
        on_cpu = recipe.precision == "auto" and self.job.device == "cpu"
        return replace(
            recipe,
            epochs=self.schedule.length,
            ema=0.0,
            precision="fp32" if on_cpu else recipe.precision,
            channels_last=False,
        )

    @cached_property
    def supernet(self) -> Supernet:
        """The network with its architecture parameters, as they are at the start."""
        with torch.random.fork_rng():
            torch.manual_seed(self.job.seed)
            mixing = self.schedule.branches[self.snapshot.branch]
            return Supernet(
                narrowed(self.relaxed.space, self.relaxed.plan, mixing.partial),
                self.relaxed.asked.values(),
                mixing,
                self.job.seed,
                prices=self.prices,
                priced=self.relaxed.plan,
                likely=likely(self.relaxed.space),
                steps=(self.schedule.length - self.schedule.warm) * self.steps,
                ranks=self.ranks,
            )

    @cached_property
    def predictor(self) -> Any:
        """What predicts latency; None where the search does not ask for it."""
        if not self.job.given.get("latency_table"):
            return None
        from nas.latency.predictor import Predictor
        from nas.latency.table import load_table

        return Predictor(load_table(self.job.given["latency_table"]))

    @property
    def prices(self) -> Prices:
        """What a leaf costs beside MACs and parameters."""
        return {} if self.predictor is None else {"latency": latency(self.predictor)}

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
        if start is not None and self._is_there(start.rows):
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
            keep=self._keeper() if self.ranks.leads else None,
            ranks=self.ranks,
        )
        try:
            for row in rows:
                yield self._named(row)
                if self.ranks.first(lambda: self._is_there(self._rows())):
                    return
        except RankLostError:
            raise
        except TrainingError as error:
            raise TrainingError(f"{error}; {self._kept()}") from error

    def _is_there(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether the snapshot is reached, or will not be: skips have taken over."""
        return rows[-1]["epoch"] >= self.snapshot.epoch or self._collapsed(rows) != ""

    def _collapsed(self, rows: Sequence[Mapping[str, Any]]) -> str:
        return collapsed([row["watched"] for row in rows])

    def _kept(self) -> str:
        """Return what is left of a training that cannot go on."""
        for name in (self._own, WARM):
            if (file := self.folder / name).is_file():
                return f"the last good state, after epoch {load_checkpoint(file).epoch}, is kept in {file}"
        return "there is no checkpoint yet"

    def found(self, stop: Callable[[], bool]) -> dict[str, Any]:
        """Return the architecture that the supernet points to now, with the score that it has there."""
        probabilities = {p: v.tolist() for p, v in self.supernet.probabilities().items()}
        mixing = self.supernet.mixing
        drawer = Drawer(self.relaxed.space, Counter(self.job.size, self.predictor))
        decisions = aimed(drawer, probabilities, Aim(mixing.targets, mixing.limits))
        decoded = drawer.draw(decisions, decoder(self.relaxed.space, probabilities))
        batch, start = self.recipe.batch, time.perf_counter()
        settle = islice(self._images(0, self.halves[0], ALONE), SETTLE)
        held = until(stop, domain().validation(self.splits.score, batch, self.job.device))
        scores = one_hot_score(
            self.supernet.network,
            self.relaxed.asked,
            decisions,
            self.splits.task,
            settle=settle,
            held=held,
        )
        rows = self._rows()
        expected = self.supernet.expected_costs()
        costs = {name: float(cost.detach()) for name, cost in expected.items()}
        return {
            "branch": self.snapshot.branch,
            "epoch": rows[-1]["epoch"],
            "decisions": decisions,
            "supernet_miou": scores["miou"],
            "targets": dict(mixing.targets),
            "reached": {name: decoded.cost(name) for name in mixing.targets} if decoded else {},
            "expected": costs,
            "collapsed": self._collapsed(rows),
            "score_seconds": round(time.perf_counter() - start, 3),
        }

    def _rows(self) -> list[Mapping[str, Any]]:
        """Return the rows of all epochs so far."""
        rows: list[Mapping[str, Any]] = json.loads(self.history.read_text(encoding="utf-8"))
        return rows

    @property
    def history(self) -> Path:
        """What is known of every epoch of the branch."""
        return self.folder / f"branch-{self.snapshot.branch}-epochs.json"

    def probe(self) -> dict[str, Any]:
        """Return seconds of a step of the weights and of one of the architecture, and the peak memory of all ranks."""
        recipe = replace(self.recipe, epochs=1)
        self.supernet.to(self.job.device)
        size = recipe.crop or self.job.size
        together = self.ranks.number if self.job.device == "cpu" else 1  # in one memory
        each = replace(recipe, batch=recipe.batch * together // self.ranks.number)
        needed = room(self.supernet, self.splits.task, recipe, size)
        needed = replace(needed, weights=needed.weights * together)
        check_room(needed, each, self.supernet.mixing.form, free_bytes(self.job.device))
        self._timed(recipe, learns=True)
        weights = self._timed(recipe, learns=False)
        return {
            "steps": self.steps,
            "weight_seconds": weights,
            "step_seconds": self._timed(recipe, learns=True),
            "parameters": sum(p.numel() for p in self.supernet.parameters()),
            "needed_bytes": needed.total(each.batch),
            "peak_bytes": peak_bytes(self.job.device) * together,
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
            ranks=self.ranks,
        )
        list(rows)
        return (time.perf_counter() - start) / number

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's batches for the weights, each after a step of the architecture on a batch of its own."""
        own, others = (self._images(epoch, half, self.ranks) for half in self.halves)
        return self.supernet.between(
            own,
            others,
            self._loss,
            epoch=epoch,
            epochs=self.schedule.length,
            rate=lambda step: self._rate(epoch, step),
        )

    def _rate(self, epoch: int, step: int) -> float:
        """Return the weights' learning rate at a step of an epoch."""
        return learning_rate(
            self.recipe, epoch * self.steps + step, self.schedule.length * self.steps
        )

    def _images(
        self, epoch: int, among: list[int], ranks: Ranks
    ) -> Iterator[tuple[Tensor, Tensor]]:
        batches: Iterator[tuple[Tensor, Tensor]] = domain().batches(
            self.splits.train,
            self.recipe,
            seed=self.job.seed,
            epoch=max(0, epoch),
            device=self.job.device,
            among=among,
            part=(ranks.rank, ranks.number),
        )
        return batches

    def _loss(self, output: Any, target: Tensor) -> Tensor:
        return loss_of(self.splits.task, output, target, self.recipe, ranks=self.ranks)

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
        last, took = time.monotonic(), 0.0

        def keep(state: State) -> None:
            nonlocal last, took
            state.rows[-1]["watched"] = watched(self.supernet, self.relaxed.space, state.epoch)
            write_atomic(self.history, json.dumps(state.rows).encode())
            due = state.epoch in {self.schedule.warm, self.snapshot.epoch}
            begun = time.monotonic()
            if due or begun - last >= max(KEPT_EVERY, took / SAVING):
                self.folder.mkdir(parents=True, exist_ok=True)
                name = WARM if state.epoch <= self.schedule.warm else self._own
                save_checkpoint(self.folder / name, state)
                last = time.monotonic()
                took = last - begun

        return keep

    def _named(self, row: Mapping[str, Any]) -> dict[str, Any]:
        plain = {k: v for k, v in row.items() if k != "watched"}
        return {**plain, "epochs": self.schedule.length, "branch": self.snapshot.branch}
