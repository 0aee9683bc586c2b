"""One training in one folder: what it depends on, its files, and whether a folder may be used for it."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nas.architecture import Architecture
from nas.atomic import write_atomic
from nas.errors import RunError, TrainingError
from nas.network import Network, build, input_size
from nas.parallel.ranks import ALONE, Ranks
from nas.recipe import Recipe
from nas.registry import domain
from nas.task import Task
from nas.train import Batches

SETTINGS = "retrain.json"
CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
WEIGHTS = "weights.safetensors"
SCORE = "score.json"


@dataclass(frozen=True)
class Retraining:
    """An architecture on a data set, by a recipe, from a seed, in a folder; `ranks` take part together."""

    architecture: Architecture
    data: Any
    recipe: Recipe
    seed: int
    folder: Path
    cache: Path
    device: torch.device
    ranks: Ranks = ALONE

    @property
    def size(self) -> tuple[int, int]:
        """Input size (H, W)."""
        return input_size(self.architecture)

    @cached_property
    def task(self) -> Task:
        """The data set's task."""
        return domain().make_task(self.data)  # type: ignore[no-any-return]

    @cached_property
    def training(self) -> Any:
        """The whole training split, prepared."""
        return domain().prepare(self.data, self.data.split("train"), self.size, self.cache)

    @cached_property
    def reporting(self) -> Any:
        """The split that only the final score looks at, prepared."""
        return domain().prepare(
            self.data, self.data.split(self.data.reporting), self.size, self.cache
        )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training split."""
        return len(self.training) // self.recipe.batch

    def check_data(self) -> None:
        """Read both splits once, so that a broken file shows before the training, not after it."""
        if self.steps_per_epoch < 1:
            what = f"{self.data.text} has {len(self.training)} training images"
            batch = f"one batch takes {self.recipe.batch}"
            raise TrainingError(f"{what}, {batch}; choose a smaller batch")
        len(self.reporting)

    def network(self) -> Network:
        """Return the network as it is before the first step."""
        return build(self.architecture, seed=self.seed).to(self.device)

    def batches(self, epoch: int) -> Batches:
        """Return the batches of an epoch, from 0; of each, this rank's slice."""
        found: Batches = domain().batches(
            self.training,
            self.recipe,
            seed=self.seed,
            epoch=epoch,
            device=self.device,
            part=(self.ranks.rank, self.ranks.number),
        )
        return found

    def validation(self) -> Batches:
        """Return the batches of the reporting split."""
        found: Batches = domain().validation(self.reporting, self.recipe.batch, self.device)
        return found

    def path(self, name: str) -> Path:
        """Return where a file of this training lies."""
        return self.folder / name

    def asked(self, budget_seconds: float | None) -> dict[str, Any]:
        """Return what a resumed training must agree in; a budget chooses the epochs itself."""
        recipe = self.recipe.to_dict()
        if budget_seconds is not None:
            del recipe["epochs"]
        return {
            "architecture": self.architecture.id,
            "data": self.data.text,
            "size": list(self.size),
            "seed": self.seed,
            "recipe": recipe,
            "budget_seconds": budget_seconds,
        }

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training in this folder; raises RunError where one does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path("lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                what = "another process is training in this folder"
                raise RunError(f"{self.folder}: {what}; wait for it, or choose another") from None
            yield


def known_epochs(job: Retraining, asked: dict[str, Any], resume: bool) -> int | None:
    """Return the number of epochs that the folder's training has chosen, None for a new folder.

    Raises RunError where there is a training and `resume` is not set, or where it is another one.
    """
    there = [n for n in (SETTINGS, CHECKPOINT, WEIGHTS, SCORE) if job.path(n).exists()]
    if not there:
        return None
    if not resume:
        how = "is finished" if SCORE in there else "can go on (resume)"
        what = f"{job.folder} holds a training that {how}"
        raise RunError(f"{what}; choose another folder for a new one")
    try:
        found = json.loads(job.path(SETTINGS).read_text(encoding="utf-8"))
        epochs = int(found.pop("epochs"))
        found["recipe"] = _complete(found["recipe"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"{job.path(SETTINGS)}: cannot be read ({error})"
        raise RunError(f"{what}, so there is nothing to resume") from error
    for name, value in asked.items():
        if found.get(name) != value:
            what = f"another {name} ({_difference(found.get(name), value)})"
            raise RunError(f"{job.folder} holds a training with {what}; resume it with the same")
    return epochs


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write plain data, whole or not at all."""
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())


def _complete(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with the fields that are newer than its file, as they were before there was such a field."""
    return {k: v for k, v in Recipe().to_dict().items() if k != "epochs"} | recipe


def _difference(before: Any, now: Any) -> str:
    """Return what differs between two settings, by name where they have names."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return f"{before} there, {now} asked"
    names = [n for n in sorted(before.keys() | now.keys()) if before.get(n) != now.get(n)]
    return ", ".join(f"{n}: {before.get(n)} there, {now.get(n)} asked" for n in names)
