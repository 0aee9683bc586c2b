"""One training of a tuning, in a worker of Ray Tune: a score after each epoch, and checkpoints to go on from."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.architecture import Architecture
from nas.checkpoint import load_checkpoint, save_checkpoint
from nas.evaluators.splits import Splits, open_splits
from nas.executors import describe
from nas.job import Job
from nas.network import build
from nas.optim import make_optimizer
from nas.recipe import Recipe
from nas.registry import domain, use_file
from nas.train import State, Stopped, score, train
from nas.tuning.ledger import DEFAULT
from nas.tuning.vary import Values, apply

STATE, PATH = "state.pt", "path.json"
KEPT_EVERY = 20.0
"""Seconds of training that a kill may cost, or one epoch where that takes longer."""
Lineage = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What all trainings of a tuning share; plain data, for workers on other machines.

    `ends` is the time (`time.time()`) when the budget is used; the default recipe's training goes on to its end.
    `share_every` is after how many epochs others may take a training's weights (0: never). `ended` are the numbers of
    trainings that have ended already, of which Ray may not know.
    """

    architecture: str
    data: str
    split: str | None
    split_seed: int
    size: tuple[int, int]
    cache: Path
    recipe: Mapping[str, Any]
    device: str = "cpu"
    threads: int = 1
    plugins: tuple[str, ...] = ()
    ends: float | None = None
    share_every: int = 0
    keep_every: float = KEPT_EVERY
    ended: frozenset[int] = frozenset()

    @property
    def epochs(self) -> int:
        """Epochs of a training that comes to its end."""
        return int(self.recipe["epochs"])

    def is_late(self, number: int) -> bool:
        """Whether the budget of a training is used."""
        return self.ends is not None and number != DEFAULT and time.time() >= self.ends

    def job(self, number: int, seed: int) -> Job:
        """Return the training as a job of a search, which has the same data."""
        return Job(
            number=number,
            architecture=self.architecture,
            seed=seed,
            data=self.data,
            split=self.split,
            split_seed=self.split_seed,
            size=self.size,
            cache=self.cache,
            device=self.device,
        )


def work(config: dict[str, Any], order: Order) -> None:
    """Train as `config["training"]` says, and report to Ray Tune: {"epoch", "loss", "lr", "seconds", "miou", "path"}.

    Last, where it did not come to the end, {"ended": "cut" or "failed", "reason"}. Whatever a training raises is its
    outcome: a retry would raise it again.
    """
    from ray import tune

    number = int(tune.get_context().get_trial_name())
    if number in order.ended:
        return
    try:
        if order.is_late(number):
            raise Stopped([])
        _Work(number, config["training"], order).run()
    except Stopped:
        tune.report({"ended": "cut", "reason": "the budget was used"})
    except Exception as error:  # noqa: BLE001 - the trial boundary
        told = describe(error)
        tune.report({"ended": "failed", "reason": f"{told['type']}: {told['text']}"})


class _Work:
    """A training with what it needs."""

    def __init__(self, number: int, training: Mapping[str, Any], order: Order) -> None:
        torch.set_num_threads(order.threads)
        for file in order.plugins:
            use_file(file)
        self.number, self.order, self.seed = number, order, int(training["seed"])
        self.values: Values = dict(training["values"])
        self.recipe = apply(Recipe.of(order.recipe), self.values)
        self.splits: Splits = open_splits(order.job(number, self.seed))
        architecture = self.splits.fit(Architecture(order.architecture))
        self.network, self.twin = (
            build(architecture, seed=self.seed).to(order.device) for _ in range(2)
        )
        self.device = torch.device(order.device)
        self.saved = time.monotonic()

    def run(self) -> None:
        """Report every epoch that is left."""
        from ray import tune

        start, path = self._found()
        for row, state in self._epochs(start):
            began = time.perf_counter()
            miou = self._score(state)
            seconds = round(row["seconds"] + time.perf_counter() - began, 3)
            kept = {name: row[name] for name in ("epoch", "loss", "lr")}
            told = {**kept, "seconds": seconds, "miou": miou, "path": path}
            if not self._is_due(row["epoch"]):
                tune.report(told)
                continue
            with tempfile.TemporaryDirectory(prefix="nas-") as folder:
                save_checkpoint(Path(folder) / STATE, state)
                (Path(folder) / PATH).write_text(json.dumps(path), encoding="utf-8")
                tune.report(told, checkpoint=tune.Checkpoint.from_directory(folder))
            self.saved = time.monotonic()

    def _epochs(self, start: State | None) -> Iterator[tuple[dict[str, Any], State]]:
        """Yield each epoch's row with the state after it."""
        if start is not None and start.epoch >= self.recipe.epochs:
            yield start.rows[-1], start
            return
        states: list[State] = [start] if start else []
        for row in train(
            self.network,
            self.splits.task,
            lambda epoch: domain().batches(
                self.splits.train, self.recipe, seed=self.seed, epoch=epoch, device=self.device
            ),
            self.recipe,
            steps_per_epoch=len(self.splits.train) // self.recipe.batch,
            seed=self.seed,
            device=self.device,
            start=start,
            stop=lambda: self.order.is_late(self.number),
            keep=lambda state: states.__setitem__(slice(None), [state]),
        ):
            yield row, states[-1]

    def _score(self, state: State) -> float:
        """Return the mIoU on the images to score on, of the averaged weights where there are such."""
        self.twin.load_state_dict(state.ema or state.network)
        batches = domain().validation(self.splits.score, self.recipe.batch, self.device)
        return float(score(self.twin, self.splits.task, batches)["miou"])

    def _is_due(self, epoch: int) -> bool:
        """Say whether a checkpoint is to be kept after `epoch`."""
        if self.order.share_every and epoch % self.order.share_every == 0:
            return True
        return time.monotonic() - self.saved >= self.order.keep_every

    def _found(self) -> tuple[State | None, Lineage]:
        """Return the state to go on from, and the path to here: this training's own, or that of one it takes over."""
        from ray import tune

        here = {"epoch": 1, "training": self.number, "values": self.values}
        checkpoint = tune.get_checkpoint()
        if checkpoint is None:
            return None, [here]
        with checkpoint.as_directory() as folder:
            state = load_checkpoint(Path(folder) / STATE)
            path: Lineage = json.loads((Path(folder) / PATH).read_text(encoding="utf-8"))
        if path[-1]["values"] != self.values or path[-1]["training"] != self.number:
            path = [*path, {**here, "epoch": state.epoch + 1}]
        return adapted(state, self.network, self.recipe), path


def adapted(state: State, network: nn.Module, recipe: Recipe) -> State:
    """Return the state with what the optimiser keeps of its recipe (weight decay, momentum) set to this one's."""
    groups = make_optimizer(network, recipe).state_dict()["param_groups"]
    return replace(state, optimizer={**state.optimizer, "param_groups": groups})
