"""Trains a chosen architecture from scratch on the whole training split, and scores it once on the reporting split."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas.architecture import Architecture
from nas.atomic import write_atomic
from nas.checkpoint import checkpoint_bytes, load_checkpoint, save_checkpoint, state_of
from nas.cost import cost
from nas.errors import TrainingError
from nas.network import Network, input_size
from nas.pace import Deadline, epochs_within
from nas.parallel.join import check_parts, found, placed
from nas.parallel.launch import launch
from nas.parallel.ranks import Ranks
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
    workers: int = 1,
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
    full epoch. `workers` processes of this machine share each batch, on GPUs one on each, with the result of one within
    rounding; where torchrun has started this process it works with the others. Raises RunError where the folder holds a
    training already and `resume` is not set, or holds another one; Stopped when `stop` said so, with a checkpoint to go
    on from; TrainingError where the batch cannot be split, or a worker is lost.
    """
    began = time.monotonic()
    data = domain().open_data(data) if isinstance(data, str) else data
    shape = (3, *(size or input_size(architecture)))
    fitted = architecture.with_classes(len(data.classes)).with_input(shape)
    recipe, at = recipe or Recipe(), Path(folder)
    ranks = found()
    check_parts(recipe.batch, workers, ranks, torch.device(device))
    ranks, on = placed(ranks, torch.device(device))
    job = Retraining(fitted, data, recipe, seed, at, Path(cache or at / "cache"), on, ranks)
    with job.held() if ranks.leads else nullcontext():
        known = ranks.first(lambda: _known(job, budget_seconds, resume))
        if "score" in known:
            return dict(known["score"])
        timing = Timing(known["epochs"], budget_seconds, began)
        if workers > 1 and ranks.number == 1:
            return _launched(job, timing, workers, progress, stop)
        return _finished(job, timing, progress, stop)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to train: `epochs`, or where they are not known yet as many as fit into the budget."""

    epochs: int | None
    budget_seconds: float | None
    began: float


def _known(job: Retraining, budget_seconds: float | None, resume: bool) -> dict[str, Any]:
    """Return the score of a training that is finished; else its epochs (None: to be chosen), with its data checked."""
    epochs = known_epochs(job, job.asked(budget_seconds), resume)
    if job.path(SCORE).is_file():
        return {"score": json.loads(job.path(SCORE).read_text(encoding="utf-8"))}
    job.check_data()
    return {"epochs": epochs}


def _launched(
    job: Retraining,
    timing: Timing,
    workers: int,
    progress: Callable[[Row], None],
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Have the training done by processes of this machine, and return its score."""
    # a copy, without the images that this process has opened
    told = launch("nas.retrain:as_rank", replace(job), timing, number=workers, stop=stop)
    with closing(told):
        for row in told:
            progress(row)
    return dict(json.loads(job.path(SCORE).read_text(encoding="utf-8")))


def as_rank(
    ranks: Ranks,
    stop: Callable[[], bool],
    tell: Callable[[Row], None],
    job: Retraining,
    timing: Timing,
) -> None:
    """Take one rank's part in a training that another process has checked and holds the folder of."""
    ranks, device = placed(ranks, job.device)
    _finished(replace(job, ranks=ranks, device=device), timing, tell, stop)


def _planned(job: Retraining, timing: Timing) -> Retraining:
    """Return the training with its number of epochs, which is on the disk from now on."""
    epochs = timing.epochs
    if epochs is None:
        epochs = job.recipe.epochs
        if timing.budget_seconds is not None:
            epochs = epochs_within(job, timing.budget_seconds, timing.began)
        if job.ranks.leads:
            write_json(job.path(SETTINGS), {**job.asked(timing.budget_seconds), "epochs": epochs})
    return replace(job, recipe=replace(job.recipe, epochs=epochs))


def _finished(
    job: Retraining,
    timing: Timing,
    progress: Callable[[Row], None],
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Train from the start or the checkpoint, write weights, then score: its file says that all is done."""
    job = _planned(job, timing)
    deadline = Deadline(timing.budget_seconds, timing.began)
    network, cut = job.network(), False
    try:
        for row in _epochs(job, network, deadline, stop):
            if job.ranks.leads:
                progress({**row, "epochs": job.recipe.epochs})
    except Stopped as stopped:
        if not job.ranks.first(lambda: deadline() and not stop()):
            raise
        if not stopped.epochs:
            what = "the budget ended within the first epoch"
            raise TrainingError(f"{what}; give it more time, or a smaller input size") from None
        cut = True
    return job.ranks.first(lambda: _scored(job, network, cut))


def _scored(job: Retraining, network: Network, cut: bool) -> dict[str, Any]:
    """Write the weights of the last checkpoint, and the score that they have."""
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
    raw = job.ranks.first_bytes(lambda: checkpoint_bytes(file) if file.is_file() else b"")
    start = state_of(raw, file) if raw else None
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
        keep=keep if job.ranks.leads else None,
        ranks=job.ranks,
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
        "workers": job.ranks.number,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "machine": machine(),
    }
