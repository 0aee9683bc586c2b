"""Trains a chosen architecture from scratch on the whole training split, and scores it once on the reporting split."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nas.architecture import Architecture
from nas.atomic import write_atomic
from nas.checkpoint import load_checkpoint, save_checkpoint
from nas.cost import cost
from nas.errors import TrainingError
from nas.network import Network, input_size
from nas.pace import Deadline, epochs_within
from nas.recipe import Recipe
from nas.registry import domain
from nas.retraining import (
    CHECKPOINT,
    LOG,
    SCORE,
    SETTINGS,
    WEIGHTS,
    Retraining,
    known_epochs,
    write_json,
)
from nas.run import machine, versions
from nas.train import Row, State, Stopped, never, score, train, uses_bf16
from nas.weights import describe, save_weights


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
    shape = (3, *(size or input_size(architecture)))
    fitted = architecture.with_classes(len(data.classes)).with_input(shape)
    at, store = Path(folder), Path(cache or Path(folder) / "cache")
    job = Retraining(fitted, data, recipe or Recipe(), seed, at, store, torch.device(device))
    asked = job.asked(budget_seconds)
    with job.held():
        epochs = known_epochs(job, asked, resume)
        if job.path(SCORE).is_file():
            return dict(json.loads(job.path(SCORE).read_text(encoding="utf-8")))
        job.check_data()
        if epochs is None:
            epochs = job.recipe.epochs
            if budget_seconds is not None:
                epochs = epochs_within(job, budget_seconds, began)
            write_json(job.path(SETTINGS), {**asked, "epochs": epochs})
        job = replace(job, recipe=replace(job.recipe, epochs=epochs))
        return _finished(job, Deadline(budget_seconds, began), progress, stop)


def _finished(
    job: Retraining,
    deadline: Deadline,
    progress: Callable[[Row], None],
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Train from the start or the checkpoint, write weights, then score: its file says that all is done."""
    network, cut = job.network(), False
    try:
        for row in _epochs(job, network, deadline, stop):
            progress({**row, "epochs": job.recipe.epochs})
    except Stopped as stopped:
        if not deadline() or stop():
            raise
        if not stopped.epochs:
            what = "the budget ended within the first epoch"
            raise TrainingError(f"{what}; give it more time, or a smaller input size") from None
        cut = True
    state = load_checkpoint(job.path(CHECKPOINT))
    network.load_state_dict(state.ema or state.network)
    about = describe(job.architecture, job.data, job.size, job.recipe)
    save_weights(job.path(WEIGHTS), network, about)
    scored = score(network, job.task, job.validation())
    result = {**scored, **_about(job, state.rows), "cut_by_budget": cut}
    write_json(job.path(SCORE), result)
    return result


def _epochs(
    job: Retraining, network: Network, deadline: Deadline, stop: Callable[[], bool]
) -> Iterator[Row]:
    """Yield the epochs that are left, each after its checkpoint and log are on the disk."""
    file = job.path(CHECKPOINT)
    start = load_checkpoint(file) if file.is_file() else None
    if start is not None:
        deadline.spent(sum(row["seconds"] for row in start.rows))

    def keep(state: State) -> None:
        save_checkpoint(file, state)
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
