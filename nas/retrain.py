"""Trains a chosen architecture from scratch on the whole training split, and scores it once on the reporting split."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nas.architecture import Architecture
from nas.atomic import write_atomic
from nas.checkpoint import load_checkpoint, save_checkpoint
from nas.cost import cost
from nas.errors import RunError, TrainingError
from nas.network import Network, build, input_size
from nas.recipe import Recipe
from nas.registry import domain
from nas.run import machine, versions
from nas.task import Task
from nas.train import Batches, Row, State, Stopped, never, score, train, uses_bf16
from nas.weights import describe, save_weights

SETTINGS, CHECKPOINT, LOG, WEIGHTS, SCORE = (
    "retrain.json", "checkpoint.pt", "log.jsonl", "weights.safetensors", "score.json",
)  # fmt: skip
RESERVE = 0.08  # share of a budget that the choice of epochs leaves unused
WARM_STEPS = 2
CALIBRATION = 0.02  # share of a budget that timing steps may take


@dataclass(frozen=True)
class Retraining:
    """One training in one folder; everything that it depends on."""

    architecture: Architecture
    data: Any
    recipe: Recipe
    seed: int
    folder: Path
    cache: Path
    device: torch.device

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

    def network(self) -> Network:
        """Return the network as it is before the first step."""
        return build(self.architecture, seed=self.seed).to(self.device)

    def batches(self, epoch: int) -> Batches:
        """Return the batches of an epoch, from 0."""
        found: Batches = domain().batches(
            self.training, self.recipe, seed=self.seed, epoch=epoch, device=self.device
        )
        return found

    def validation(self) -> Batches:
        """Return the batches of the reporting split."""
        found: Batches = domain().validation(self.reporting, self.recipe.batch, self.device)
        return found

    def path(self, name: str) -> Path:
        """Return where a file of this training lies."""
        return self.folder / name


def retrain(
    architecture: Architecture,
    data: Any,
    *,
    folder: Path | str,
    recipe: Recipe | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    budget_seconds: float | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    progress: Callable[[Row], None] = lambda _: None,
    stop: Callable[[], bool] = never,
    cache: Path | str | None = None,
) -> dict[str, Any]:
    """Train, save and score a network; return what `score.json` holds (miou, iou by class, epochs, ...).

    `data` is a data set or its text; classes and input size of the architecture are set to fit. The
    score is that of the last epoch's weights (averaged ones if the recipe says so). A checkpoint is
    written after each epoch: `resume` goes on from it, with the result of an uninterrupted run.
    With `budget_seconds` a few steps are timed first and the number of epochs is chosen to fit, in
    place of the recipe's; should the machine slow down, training ends at the budget with the last
    full epoch. Raises RunError where the folder holds a training already and `resume` is not set, or
    holds another one; Stopped when `stop` said so, with a checkpoint to go on from.
    """
    began = time.monotonic()
    data = domain().open_data(data) if isinstance(data, str) else data
    fitted = architecture.with_classes(len(data.classes)).with_input(
        (3, *(size or input_size(architecture)))
    )
    at = Path(folder)
    job = Retraining(
        fitted,
        data,
        recipe or Recipe(),
        seed,
        at,
        Path(cache or at / "cache"),
        torch.device(device),
    )
    asked = _asked(job, budget_seconds)
    known = _known(job, asked, resume)
    if job.path(SCORE).is_file():
        return dict(json.loads(job.path(SCORE).read_text(encoding="utf-8")))
    if job.steps_per_epoch < 1:
        count = len(job.training)
        what = f"{data.text} has {count} training images, one batch takes {job.recipe.batch}"
        raise TrainingError(f"{what}; choose a smaller batch")
    epochs = known or _epochs(job, budget_seconds, began)
    job = replace(job, recipe=replace(job.recipe, epochs=epochs))
    _write_json(job.path(SETTINGS), {**asked, "epochs": epochs})
    return _run(job, _Deadline(budget_seconds, began), progress, stop)


class _Deadline:
    """The end of a budget; seconds that an earlier, interrupted run spent count too."""

    def __init__(self, budget_seconds: float | None, began: float) -> None:
        self.end = None if budget_seconds is None else began + budget_seconds

    def spent(self, seconds: float) -> None:
        """Move the end forward."""
        self.end = None if self.end is None else self.end - seconds

    def __call__(self) -> bool:
        return self.end is not None and time.monotonic() >= self.end


def _run(
    job: Retraining, deadline: _Deadline, progress: Callable[[Row], None], stop: Callable[[], bool]
) -> dict[str, Any]:
    """Train from the start or the checkpoint, write the weights, then the score: its file says that all is done."""
    network, rows, cut = job.network(), [], False
    try:
        for row in _epochs_of(job, network, deadline, stop):
            progress({**row, "epochs": job.recipe.epochs})
    except Stopped as stopped:
        if not deadline() or stop():
            raise
        if not stopped.epochs:
            raise TrainingError(
                "the budget ended within the first epoch; give it more time, or train at a smaller size"
            ) from None
        cut = True
    state = load_checkpoint(job.path(CHECKPOINT))
    network.load_state_dict(state.ema or state.network)
    rows = state.rows
    save_weights(
        job.path(WEIGHTS), network, describe(job.architecture, job.data, job.size, job.recipe)
    )
    scored = score(network, job.task, job.validation())
    result = {**scored, **_about(job, rows), "cut_by_budget": cut}
    _write_json(job.path(SCORE), result)
    return result


def _epochs_of(
    job: Retraining, network: Network, deadline: _Deadline, stop: Callable[[], bool]
) -> Iterator[Row]:
    """Yield the epochs that are left, each after its checkpoint and log are on the disk."""
    start = load_checkpoint(job.path(CHECKPOINT)) if job.path(CHECKPOINT).is_file() else None
    if start is not None:
        deadline.spent(sum(row["seconds"] for row in start.rows))

    def keep(state: State) -> None:
        save_checkpoint(job.path(CHECKPOINT), state)
        lines = [json.dumps(row) + "\n" for row in state.rows]
        write_atomic(job.path(LOG), "".join(lines).encode())

    yield from train(
        network,
        job.task,
        job.batches,
        job.recipe,
        steps_per_epoch=job.steps_per_epoch,
        seed=job.seed,
        device=job.device,
        start=start,
        stop=lambda: stop() or deadline(),
        keep=keep,
    )


def _epochs(job: Retraining, budget_seconds: float | None, began: float) -> int:
    """Return the recipe's number of epochs, or as many as fit into the rest of the budget."""
    if budget_seconds is None:
        return job.recipe.epochs
    network = job.network()
    warm = _timed(job, network, min(WARM_STEPS, job.steps_per_epoch))
    steps = int(CALIBRATION * budget_seconds / warm.step)
    timed = _timed(job, network, max(1, min(job.steps_per_epoch, steps)))
    epoch_seconds = timed.step * job.steps_per_epoch + timed.between
    left = (
        (1 - RESERVE) * budget_seconds - (time.monotonic() - began) - _scoring_seconds(job, network)
    )
    return max(1, int(left / epoch_seconds))


class _Pace(NamedTuple):
    """Seconds that a training step takes, and what an epoch takes beside its steps."""

    step: float
    between: float


def _timed(job: Retraining, network: Network, steps: int) -> _Pace:
    """Return the pace of a training, over `steps` of its steps."""
    draft = job.path(f".{CHECKPOINT}.timing")
    start = time.perf_counter()
    rows = train(
        network,
        job.task,
        job.batches,
        replace(job.recipe, epochs=1),
        steps_per_epoch=steps,
        seed=0,
        device=job.device,
        keep=lambda state: save_checkpoint(draft, state),
    )
    seconds = float(list(rows)[-1]["seconds"])
    between = time.perf_counter() - start - seconds
    draft.unlink(missing_ok=True)
    return _Pace(seconds / steps, between)


def _scoring_seconds(job: Retraining, network: Network) -> float:
    """Return about how long it takes to score the reporting split, by its first batch."""
    batch = next(iter(job.validation()))
    start = time.perf_counter()
    score(network, job.task, [batch])
    return (time.perf_counter() - start) * len(job.reporting) / len(batch[0])


def _asked(job: Retraining, budget_seconds: float | None) -> dict[str, Any]:
    """Return what a resumed training must agree in."""
    recipe = job.recipe.to_dict()
    if budget_seconds is not None:
        del recipe["epochs"]
    return {
        "architecture": job.architecture.id,
        "data": job.data.text,
        "size": list(job.size),
        "seed": job.seed,
        "recipe": recipe,
        "budget_seconds": budget_seconds,
    }


def _known(job: Retraining, asked: dict[str, Any], resume: bool) -> int | None:
    """Return the number of epochs that the folder's training has chosen, None for a new folder. Raises RunError."""
    there = [name for name in (SETTINGS, CHECKPOINT, WEIGHTS, SCORE) if job.path(name).exists()]
    if not there:
        return None
    if not resume:
        how = "is finished" if SCORE in there else "can go on (resume)"
        raise RunError(
            f"{job.folder} holds a training that {how}; choose another folder for a new one"
        )
    try:
        found = json.loads(job.path(SETTINGS).read_text(encoding="utf-8"))
        epochs = int(found.pop("epochs"))
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{job.path(SETTINGS)}: cannot be read ({error}), so there is nothing to resume"
        ) from error
    for name, value in asked.items():
        if found.get(name) != value:
            text = _difference(found.get(name), value)
            raise RunError(
                f"{job.folder} holds a training with another {name} ({text}); resume it with the same one"
            )
    return epochs


def _difference(before: Any, now: Any) -> str:
    """Return what differs between two settings, by name where they have names."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [
            name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)
        ]
        return ", ".join(
            f"{name}: {before.get(name)} there, {now.get(name)} asked" for name in names
        )
    return f"{before} there, {now} asked"


def _about(job: Retraining, rows: list[Row]) -> dict[str, Any]:
    """Return how a score came about."""
    counted = cost(job.architecture)
    return {
        "architecture": job.architecture.id,
        "data": job.data.text,
        "split": job.data.reporting,
        "size": list(job.size),
        "epochs": len(rows),
        "planned_epochs": job.recipe.epochs,
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "seed": job.seed,
        "macs": counted.macs,
        "params": counted.params,
        "recipe": job.recipe.to_dict(),
        "precision": "bf16" if uses_bf16(job.recipe, job.device) else "fp32",
        "device": str(job.device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "machine": machine(),
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())
