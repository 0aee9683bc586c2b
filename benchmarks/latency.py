"""How well latency is predicted, on networks that no fit has seen.

    python benchmarks/latency.py
    python benchmarks/latency.py --space tiny --size 128x256 --target eager --fit 12 --held-out 12

Makes a table of the space on the target (or goes on with it), measures other random networks of the space, twice, and
prints how far off each way of predicting them is: the predictor, the sum over leaves, MACs alone and parameters alone
(a straight line through the table's networks, in logarithms); beside them how far two measurements of one network are
apart. Everything is kept in the files that --out names, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from nas import registry
from nas.architecture import Architecture
from nas.choosers import random_chooser
from nas.errors import PlanError
from nas.latency.blocks_code import code_of
from nas.latency.make_table import Effort, make_table
from nas.latency.predictor import Predictor
from nas.latency.table import Table
from nas.latency.target import Conditions, Target
from nas.parts import Plan
from nas.plan import Planner
from nas.resolve import closed
from nas.space import Space, load_space

Array = NDArray[np.float64]


def main() -> None:
    """Measure what is missing, then print the comparison."""
    asked = arguments()
    registry.load()
    space = load_space(asked.space)
    size = (
        tuple(int(n) for n in asked.size.split("x"))
        if asked.size
        else tuple(space.tree["input"][1:])
    )
    target = Target.of(asked.target, (size[0], size[1]))
    told = progress(f"networks of {space.name} to fit on")
    table = make_table(
        space,
        target,
        asked.out / "fit.json",
        effort=Effort(networks=asked.fit, runs=asked.runs),
        told=told,
    )
    held_out = list(random_networks(space, target.size, asked.held_out, set(table.planned)))
    passes = [
        measured(space, table, held_out, asked.out / f"held-out-{n}.json", asked.runs)
        for n in (1, 2)
    ]
    report(table, held_out, *passes)


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", default="real_time")
    parser.add_argument("--size", help="HxW; the space's own if left out")
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--fit", type=int, default=60, help="networks in the table")
    parser.add_argument("--held-out", type=int, default=60, help="random networks to predict")
    parser.add_argument("--runs", type=int, default=12, help="timed evaluations of each")
    parser.add_argument("--out", type=Path, default=Path("results/latency/benchmark"))
    return parser.parse_args()


def random_networks(
    space: Space, size: tuple[int, int], count: int, known: set[str]
) -> Iterator[str]:
    """Yield random networks of the space, as texts, that are not in the table."""
    rng, planner, seen = Random("held out"), Planner(size), set(known)
    while count:
        architecture = closed(space, random_chooser(rng))
        try:
            planner.plan(architecture)
        except PlanError:
            continue
        if architecture.text not in seen:
            seen.add(architecture.text)
            count -= 1
            yield architecture.text


def measured(space: Space, table: Table, networks: Sequence[str], path: Path, runs: int) -> Array:
    """Return the milliseconds of each network; measured as those of the table are, in a file of their own."""
    target = table.target
    if not path.exists():
        conditions = Conditions.here(target, code_of(networks, target.size))
        replace(table, planned=tuple(networks), networks=(), conditions=conditions).save(path)
    told = progress(f"held-out networks, {path.stem}")
    done = make_table(space, target, path, effort=Effort(runs=runs), told=told)
    by_text = {timed.architecture: timed.ms for timed in done.networks}
    return np.array([by_text[text] for text in networks])


def report(table: Table, networks: Sequence[str], first: Array, second: Array) -> None:
    """Print the errors of each way to predict the first measurement, and those of the second beside them."""
    planner, predictor = Planner(table.target.size), Predictor(table)
    plans = [planner.plan(Architecture(text)) for text in networks]
    found = [predictor.predict(plan) for plan in plans]
    fitted = [planner.plan(Architecture(timed.architecture)) for timed in table.networks]
    ms = np.array([timed.ms for timed in table.networks])
    rows = {
        "predictor": np.array([p.ms for p in found]),
        "sum over leaves": np.array([p.additive_ms for p in found]),
        "MACs alone": line(fitted, ms, plans, lambda plan: plan.macs),
        "parameters alone": line(fitted, ms, plans, lambda plan: plan.params),
        "measured again": second,
    }
    height, width = table.target.size
    print(
        f"{table.space} at {height}x{width} on {table.target}, {table.conditions.host}: fitted on {len(ms)} networks, "
    )
    print(
        f"{len(first)} others predicted ({first.min():.1f} to {first.max():.1f} ms, median {np.median(first):.1f})\n"
    )
    print(
        f"{'':18} {'median error':>13} {'mean':>7} {'90 %':>7} {'within 10 %':>12} {'Kendall tau':>12}"
    )
    for name, predicted in rows.items():
        off = np.abs(predicted / first - 1)
        tau = kendalltau(predicted, first).statistic
        shares = f"{np.median(off):13.1%} {off.mean():7.1%} {np.quantile(off, 0.9):7.1%} {np.mean(off <= 0.1):12.0%}"
        print(f"{name:18} {shares} {tau:12.3f}")
    held = sum(p.low <= one <= p.high for p, one in zip(found, first, strict=True))
    print(
        f"\nintervals of nominal 90 % hold for {held} of {len(first)} (+- {found[0].high / found[0].ms - 1:.1%})"
    )
    known = np.mean([p.measured for p in found])
    print(f"of the predicted time {known:.0%} is of leaves that the table holds")


def line(
    fitted: Sequence[Plan], ms: Array, plans: Sequence[Plan], cost: Callable[[Plan], int]
) -> Array:
    """Predict by a straight line between the logarithms of one cost and of the time."""
    slope, offset = np.polyfit(np.log([cost(plan) for plan in fitted]), np.log(ms), 1)
    return np.asarray(np.exp(slope * np.log([cost(plan) for plan in plans]) + offset))


def progress(what: str) -> Callable[[int, int], Any]:
    """Return what prints how many networks are done."""
    return lambda done, planned: print(f"{what}: {done} of {planned}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
