"""The default evaluator: a short training from scratch, scored on images that neither training nor reporting uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nas.architecture import Architecture
from nas.checkpoint import load_checkpoint, save_checkpoint
from nas.errors import RunError
from nas.evaluators import evaluator
from nas.evaluators.splits import Splits, Warm
from nas.job import Job
from nas.network import Network, build
from nas.recipe import Recipe
from nas.registry import domain
from nas.train import State, Stopped, score, train

CHECKPOINT = "trial.pt"
KEPT_EVERY = 20.0
"""Seconds of training that a kill may cost, or one epoch where that takes longer: a checkpoint takes time too."""


@evaluator("short_training")
class ShortTraining:
    """Trains with the job's recipe; yields each epoch, then the scores of the last epoch's weights.

    Where the job has a folder, it leaves a checkpoint there every `KEPT_EVERY` seconds, at the end of an epoch, from
    which the same job goes on after a kill; who owns the folder removes it.
    """

    def __init__(self) -> None:
        self._warm = Warm()

    def evaluate(
        self, architecture: Architecture, job: Job, stop: Callable[[], bool]
    ) -> Iterator[Mapping[str, Any]]:
        """Yield {"epoch", "loss", "lr", "seconds", "images"} per epoch, last {"miou", "iou", "pixel_accuracy", ...}."""
        splits = self._warm.splits(job)
        network = build(splits.fit(architecture), seed=job.seed)
        try:
            yield from trained(network, splits, job, stop)
            start = time.perf_counter()
            batch = Recipe.of(job.recipe).batch
            batches = domain().validation(splits.score, batch, job.device)
            scores = score(network, splits.task, until(stop, batches))
        except Stopped:
            return
        yield {**scores, "score_seconds": round(time.perf_counter() - start, 3)}


def trained(
    network: Network, splits: Splits, job: Job, stop: Callable[[], bool]
) -> Iterator[Mapping[str, Any]]:
    """Train `network` on the part to train on; yield a row per epoch."""
    recipe = Recipe.of(job.recipe)
    checkpoint = None if job.folder is None else job.folder / CHECKPOINT
    start = _found(checkpoint)
    yield from start.rows if start else ()
    yield from train(
        network,
        splits.task,
        lambda epoch: domain().batches(
            splits.train, recipe, seed=job.seed, epoch=epoch, device=job.device
        ),
        recipe,
        steps_per_epoch=len(splits.train) // recipe.batch,
        seed=job.seed,
        device=job.device,
        start=start,
        stop=stop,
        keep=None if checkpoint is None else _keeper(checkpoint),
    )


def _keeper(checkpoint: Path) -> Callable[[State], None]:
    """Return what saves a state, unless the last time is less than `KEPT_EVERY` seconds ago."""
    last = time.monotonic()

    def keep(state: State) -> None:
        nonlocal last
        if time.monotonic() - last >= KEPT_EVERY:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            save_checkpoint(checkpoint, state)
            last = time.monotonic()

    return keep


def _found(checkpoint: Path | None) -> State | None:
    """Return the state that an earlier, killed worker has left; a damaged one is as good as none."""
    if checkpoint is None or not checkpoint.is_file():
        return None
    with suppress(RunError):
        return load_checkpoint(checkpoint)
    return None


def until(stop: Callable[[], bool], batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches, asking `stop` before each; raises Stopped."""
    for batch in batches:
        if stop():
            raise Stopped([])
        yield batch
