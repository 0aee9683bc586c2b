"""NSGA-II (Deb et al., 2002), with constraints first. It crosses only parameters that all trials share.

The population is smaller than Optuna's 50: a whole generation is random before selection begins, and budgets here are
often under a hundred trials.
"""

from __future__ import annotations

from optuna import Study
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.trial import FrozenTrial

POPULATION = 20


class InOrder(NSGAIISampler):
    """Parents in the order of their numbers, and every trial in a generation.

    Optuna gives a trial its generation when it draws one of its parameters: one whose parameters are all given (a
    repaired proposal, a starting point) would have none, and never be a parent.

    It hands them out by rank when it selects them and by number when it reads its own note of them, so what a
    child becomes would depend on whether the run was interrupted since.
    """

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Give the trial its generation."""
        super().before_trial(study, trial)
        self.get_trial_generation(study, trial)

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Return the parents of a generation."""
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)


def sampler(seed: int) -> BaseSampler:
    """Return an NSGA-II sampler; its generations are kept with the trials."""
    return InOrder(population_size=POPULATION, seed=seed)
