"""Tables to search in: every combination of options with an accuracy of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def write_table(path: Path, options: Sequence[int], seed: int = 0) -> Path:
    """Write a table of choices with so many options each, its rows in any order; return its path."""
    rng = np.random.default_rng(seed)
    decisions = rng.permutation(np.indices(options).reshape(len(options), -1).T)
    accuracy = rng.permutation(np.linspace(20.0, 90.0, len(decisions)))
    np.savez(path, decisions=decisions.astype(np.int8), accuracy=accuracy)
    return path
