"""Every decision drawn evenly and for itself: the strategy that the others have to beat."""

from __future__ import annotations

from optuna.samplers import BaseSampler, RandomSampler


def sampler(seed: int) -> BaseSampler:
    """Return a random sampler."""
    return RandomSampler(seed=seed)
