"""How many epochs fit into a budget: chosen before the training, since the learning rate's schedule needs to know."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NamedTuple

from nas.checkpoint import save_checkpoint
from nas.network import Network
from nas.retraining import CHECKPOINT, Retraining
from nas.train import score, train

RESERVE = 0.08
"""Share of a budget that the choice of epochs leaves unused, for a machine that slows down."""
WARM_STEPS = 2
TIMING = 0.02
"""Share of a budget that timing steps may take."""


class Deadline:
    """The end of a budget; says yes when it has come. Without a budget it never does."""

    def __init__(self, budget_seconds: float | None, began: float) -> None:
        self.end = None if budget_seconds is None else began + budget_seconds

    def spent(self, seconds: float) -> None:
        """Count what an earlier, interrupted run has used."""
        self.end = None if self.end is None else self.end - seconds

    def __call__(self) -> bool:
        return self.end is not None and time.monotonic() >= self.end


class Pace(NamedTuple):
    """Seconds that a training step takes, and what an epoch takes beside its steps."""

    step: float
    between: float


def epochs_within(job: Retraining, budget_seconds: float, began: float) -> int:
    """Return how many epochs (1 or more) fit into what is left of a budget, by the time of a few steps.

    The steps are taken by a network that is thrown away, by all ranks; what counts is rank 0's clock. `began` is a
    `time.monotonic()`.
    """
    network = job.network()
    warm = _timed(job, network, min(WARM_STEPS, job.steps_per_epoch))
    steps = int(TIMING * budget_seconds / warm.step)
    pace = _timed(job, network, max(1, min(job.steps_per_epoch, steps)))
    epoch_seconds = pace.step * job.steps_per_epoch + pace.between

    def epochs() -> int:
        used = time.monotonic() - began + _scoring_seconds(job, network)
        return max(1, int(((1 - RESERVE) * budget_seconds - used) / epoch_seconds))

    return job.ranks.first(epochs)


def _timed(job: Retraining, network: Network, steps: int) -> Pace:
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
        keep=(lambda state: save_checkpoint(draft, state)) if job.ranks.leads else None,
        ranks=job.ranks,
    )
    seconds = float(list(rows)[-1]["seconds"])
    between = time.perf_counter() - start - seconds
    draft.unlink(missing_ok=True)
    return Pace(*job.ranks.first(lambda: [seconds / steps, between]))


def _scoring_seconds(job: Retraining, network: Network) -> float:
    """Return about how long it takes to score the reporting split, by its first batch."""
    batch = next(iter(job.validation()))
    start = time.perf_counter()
    score(network, job.task, [batch])
    return (time.perf_counter() - start) * len(job.reporting) / len(batch[0])
