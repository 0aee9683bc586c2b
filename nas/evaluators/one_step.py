"""The pre-flight's evaluator: a few training steps and one validation step on real batches, timed."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from nas.architecture import Architecture
from nas.evaluators import evaluator
from nas.evaluators.splits import Splits, Warm
from nas.job import Job
from nas.network import Network, build
from nas.recipe import Recipe
from nas.registry import domain
from nas.train import score, train

TIMED_STEPS = 2


@evaluator("one_step")
class OneStep:
    """Runs each network for one step to warm up, then times `TIMED_STEPS` steps and one batch of scoring.

    The first network of a worker is timed twice, and only the second time counts: the first pays for what PyTorch
    loads at first use.
    """

    def __init__(self) -> None:
        self._warm = Warm()
        self._used = False

    def evaluate(
        self, architecture: Architecture, job: Job, stop: Callable[[], bool]
    ) -> Iterator[Mapping[str, Any]]:
        """Yield seconds per step and per scored batch, steps and batches per epoch, and the peak memory so far."""
        splits = self._warm.splits(job)
        if not self._used:
            _timed(architecture, splits, job)
            self._used = True
        if not stop():
            yield _timed(architecture, splits, job)


def _timed(architecture: Architecture, splits: Splits, job: Job) -> dict[str, Any]:
    """Return what a trial is made of, with the seconds of each part."""
    batch = Recipe.of(job.recipe).batch
    start = time.perf_counter()
    network = build(splits.fit(architecture), seed=job.seed)
    build_seconds = time.perf_counter() - start
    _steps(network, splits, job, 1)
    return {
        "build_seconds": build_seconds,
        "step_seconds": _steps(network, splits, job, TIMED_STEPS) / TIMED_STEPS,
        "score_seconds": _score_seconds(network, splits, job, batch),
        "steps": len(splits.train) // batch,
        "score_batches": -(-len(splits.score) // batch),
        "peak_bytes": peak_bytes(job.device),
    }


def _steps(network: Network, splits: Splits, job: Job, steps: int) -> float:
    """Take training steps as a trial would; return their seconds, the first batch's preparation included."""
    recipe = replace(Recipe.of(job.recipe), epochs=1)
    batches = domain().batches(splits.train, recipe, seed=job.seed, epoch=0, device=job.device)
    available = min(steps, len(splits.train) // recipe.batch)
    rows = train(
        network,
        splits.task,
        lambda _: batches,
        recipe,
        steps_per_epoch=available,
        seed=job.seed,
        device=job.device,
    )
    return float(list(rows)[-1]["seconds"]) * steps / max(1, available)


def _score_seconds(network: Network, splits: Splits, job: Job, batch: int) -> float:
    start = time.perf_counter()
    batches = domain().validation(splits.score, batch, job.device)
    score(network, splits.task, islice(batches, 1))
    batches.close()
    return time.perf_counter() - start


def peak_bytes(device: str) -> int:
    """Return the most memory that this process has held so far: the accelerator's, or the machine's."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
