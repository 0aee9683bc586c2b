"""Parts of a retraining by ranks that end where a test wants it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import torch

from nas.parallel.ranks import Ranks
from nas.retrain import Timing, as_rank
from nas.retraining import Retraining
from nas.train import never
from search_spaces.data import open_data
from tests.nas.retraining import ARCHITECTURE, DATA, RECIPE

SGD = replace(RECIPE, optimizer="sgd", precision="fp32")
TIMING = Timing(None, None, 0.0)


def job(folder: Path, cache: Path) -> Retraining:
    """Return what `tests.nas.retraining.again` trains, with SGD: rounding stays rounding in it."""
    data = open_data(DATA)
    fitted = ARCHITECTURE.with_classes(len(data.classes)).with_input((3, 32, 64))
    return Retraining(fitted, data, SGD, 3, folder, cache, torch.device("cpu"))


def stopped(
    ranks: Ranks,
    _stop: Callable[[], bool],
    tell: Callable[[Any], None],
    steps: int,
    given: Retraining,
) -> None:
    """Train until rank 0 has asked `steps` times whether to stop."""
    asked = iter([False] * steps) if ranks.leads else repeat(False)
    as_rank(ranks, lambda: next(asked, True), tell, given, TIMING)


def killed(
    ranks: Ranks,
    _stop: Callable[[], bool],
    tell: Callable[[Any], None],
    steps: int,
    given: Retraining,
) -> None:
    """Train until rank 1 is killed at its `steps`-th question."""
    asked = iter([False] * steps) if ranks.rank == 1 else repeat(False)

    def stop() -> bool:
        if next(asked, True):
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    as_rank(ranks, stop, tell, given, TIMING)


def paced(
    ranks: Ranks,
    _stop: Callable[[], bool],
    tell: Callable[[Any], None],
    seconds: float,
    given: Retraining,
) -> None:
    """Train for as many epochs as fit into a budget that begins now: clocks of ranks are not the same."""
    given.network()  # loads what takes seconds to load
    as_rank(ranks, never, tell, given, Timing(None, seconds, time.monotonic() + 0.1 * ranks.rank))
