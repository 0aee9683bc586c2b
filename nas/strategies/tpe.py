"""Tree-structured Parzen estimators over groups of parameters that occur together: the default.

Groups matter: in a nested space few parameters are shared by all trials, and without groups all others are drawn at
random (Bergstra et al., NeurIPS 2011; constraints as in c-TPE, Watanabe and Hutter, IJCAI 2023, as Optuna has them).
"""

from __future__ import annotations

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler


def sampler(seed: int) -> BaseSampler:
    """Return a multivariate, grouped TPE sampler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(multivariate=True, group=True, seed=seed)
