"""Before a differentiable search: can the space be mixed, are targets in reach, does it fit the memory and the time?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.errors import LimitError
from nas.executors import Executor
from nas.preflight import failure, run
from nas.problem import show_seconds
from nas.relax.schedule import EPOCHS, Schedule, Snapshot
from nas.run import LATENCY, Settings
from nas.strategies.differentiable import job
from nas.units import show_count

SHARE = 0.95
"""Of the time budget that epochs are fitted into: what was measured on a few steps is not exact."""


def fitted_schedule(
    settings: Settings,
    space: str,
    cache: Path,
    executor: Executor,
    trial_seconds: float,
    *,
    say: Callable[[str], None],
) -> Schedule:
    """Return the run's schedule with a number of epochs: the one that was asked for, or what fits the time.

    Takes a few steps of the supernet in the executor's worker. Raises what these raise, and LimitError where the time
    is not enough for a supernet that learns anything and a trial.
    """
    say("planning the supernet, and taking a few of its steps")
    schedule = Schedule.of(settings.supernet)
    table = None if settings.target is None else cache / LATENCY
    probe = job(settings, space, Snapshot(0, 0), cache=cache, latency_table=table)
    result = run(executor, probe, say)
    if result.state != "complete":
        raise failure(result)
    found = result.metrics
    say(
        f"supernet: {show_count(found['parameters'])} parameters, about {found['needed_bytes'] / 2**30:.1f} GiB; "
        f"{found['steps']} steps an epoch, {found['weight_seconds']:.2f}s each while only weights learn, "
        f"{found['step_seconds']:.2f}s then"
    )
    budget = settings.problem.budget.seconds
    if schedule.epochs is None:
        epochs = EPOCHS if budget is None else fitting(schedule, found, trial_seconds, budget)
        schedule = replace(schedule, epochs=epochs)
    needed = seconds(schedule, found, trial_seconds)
    snapshots = len(list(schedule.all_snapshots()))
    say(
        f"{schedule.length} epochs of the supernet ({schedule.warm} of them for weights only), "
        f"{len(schedule.branches)} times from there, {snapshots} snapshots: about {show_seconds(needed)} in all"
    )
    if budget is not None and needed > budget:
        say(
            f"warning: the budget of {show_seconds(budget)} ends before the supernet's last epoch: give it more time, "
            "or fewer epochs (--supernet-epochs)"
        )
    return schedule


def seconds(schedule: Schedule, found: Mapping[str, Any], trial_seconds: float) -> float:
    """Return how long a whole search takes: warm-up, branches, and a trial for each snapshot."""
    learned = (schedule.length - schedule.warm) * len(schedule.branches)
    steps = schedule.warm * found["weight_seconds"] + learned * found["step_seconds"]
    return float(steps * found["steps"] + len(list(schedule.all_snapshots())) * trial_seconds)


def fitting(
    schedule: Schedule, found: Mapping[str, Any], trial_seconds: float, budget: float
) -> int:
    """Return the most epochs, up to `EPOCHS`, that fit the budget; raises LimitError where not even a few do."""
    least = 2 if 0 < schedule.mixing.warmup < 1 else 1
    for epochs in range(EPOCHS, least - 1, -1):
        if seconds(replace(schedule, epochs=epochs), found, trial_seconds) <= SHARE * budget:
            return epochs
    needed = seconds(replace(schedule, epochs=least), found, trial_seconds) / SHARE
    raise LimitError(
        f"a budget of {show_seconds(budget)} is not enough: {least} epochs of the supernet and a trial for each "
        f"snapshot take about {show_seconds(math.ceil(needed))}; give it more time, smaller crops (--crop), a larger "
        "batch, fewer snapshots (--snapshots) or trials of fewer epochs (--epochs)"
    )
