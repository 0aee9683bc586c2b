"""NSGA-II (Deb et al., 2002), with constraints first. It crosses only parameters that all trials share.

The population is smaller than Optuna's 50: a whole generation is random before selection begins, and budgets here are
often under a hundred trials.
"""

from __future__ import annotations

from optuna.samplers import BaseSampler, NSGAIISampler

POPULATION = 20


def sampler(seed: int) -> BaseSampler:
    """Return an NSGA-II sampler; its generations are kept in the study."""
    return NSGAIISampler(population_size=POPULATION, seed=seed)
