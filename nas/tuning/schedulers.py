"""Ray Tune's schedulers as tuning needs them: the default recipe trains to its end, a restart forgets nothing."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    ASHAScheduler,
    PopulationBasedTraining,
    TrialScheduler,
)

from nas.tuning.asked import SHARE, Asked, first_rung, interval
from nas.tuning.ledger import DEFAULT, Ledger
from nas.tuning.vary import Vary, moved

EPOCH, SCORE = "epoch", "miou"
QUANTILE = 0.25


def number_of(trial: Trial) -> int:
    """Return the number of a training, which is its name in Ray."""
    return int(str(trial))


class Asha(ASHAScheduler):
    """Asynchronous successive halving (Li et al. 2018, arXiv 1810.05934), by the score after an epoch."""

    def __init__(self, epochs: int, ledger: Ledger) -> None:
        self._ledger = ledger
        super().__init__(
            time_attr=EPOCH,
            max_t=epochs,
            grace_period=first_rung(epochs),
            reduction_factor=SHARE,
        )

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take in what the training reported before a restart: Ray does not keep rungs."""
        super().on_trial_add(tune_controller, trial)
        for row in self._ledger.track(number_of(trial)).rows:
            super().on_trial_result(tune_controller, trial, row)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Stop a training that is not among the best third of its rung; never that of the default recipe."""
        decision = super().on_trial_result(tune_controller, trial, result)
        early = result.get(EPOCH, 0) < self._max_t
        if number_of(trial) == DEFAULT and early:
            return str(TrialScheduler.CONTINUE)
        return str(decision)


class Population(PopulationBasedTraining):
    """Population based training (Jaderberg et al. 2017, arXiv 1711.09846); the default recipe is not of the population.

    What is random follows from the seed, the training and its epoch. Values stay in their ranges.
    """

    def __init__(self, epochs: int, vary: Vary, seed: int) -> None:
        self._epochs, self._vary, self._seed = epochs, vary, seed
        self._rng = np.random.default_rng(seed)
        super().__init__(
            time_attr=EPOCH,
            perturbation_interval=interval(epochs),
            quantile_fraction=QUANTILE,
            custom_explore_fn=self._explore,
            log_config=False,
        )

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Let one of the worst quarter go on from one of the best, unless it is at its end."""
        number, epoch = number_of(trial), result.get(EPOCH, self._epochs)
        if number == DEFAULT or SCORE not in result or epoch >= self._epochs:
            return str(TrialScheduler.CONTINUE)
        self._rng = np.random.default_rng([self._seed, number, epoch])
        with _seeded(f"{self._seed} {number} {epoch}"):
            return str(super().on_trial_result(tune_controller, trial, result))

    def _explore(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return the other training's configuration with values nearby."""
        training = config["training"]
        values = moved(self._vary, training["values"], self._rng)
        return {**config, "training": {**training, "values": values}}


def make_scheduler(asked: Asked, ledger: Ledger) -> TrialScheduler:
    """Return the scheduler that was asked for."""
    if asked.scheduler == "pbt":
        return Population(asked.epochs, asked.vary, asked.seed)
    return Asha(asked.epochs, ledger)


@contextlib.contextmanager
def _seeded(text: str) -> Iterator[None]:
    """Seed the generator that Ray draws from, which is the process's own, and put it back."""
    before = random.getstate()
    random.seed(text)
    try:
        yield
    finally:
        random.setstate(before)
