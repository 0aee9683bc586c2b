"""What a trial costs beside its training: 1,000 trials of a table through 8 workers, for each executor and database.

    python benchmarks/load.py [--trials 1000] [--workers 8] [--seconds 0] [--strategy random] [--rounds 1] [--case ...]

Each case is a whole search in a process of its own, in turns where there are several rounds. No trial may be lost or
doubled, and each must have its own score; otherwise it ends with code 1. A PostgreSQL server is started where the
system's package is there. Milliseconds are processor time of the driver's main thread, by part. What it neither ran
nor queued for a processor (where other programs had them) it waited: for workers, the database or the disk.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
CASES = tuple(
    f"{e}/{s}" for e, s in itertools.product(("processes", "ray"), ("sqlite", "postgresql"))
)
Shares = tuple[float, float]
OPTIONS = (6,) * 6
"""Choices of the table's space: 46,656 architectures, of which 10,000 trials draw a tenth twice."""


def write_table(path: Path) -> None:
    """Write a table of `OPTIONS` with any accuracies, all different."""
    decisions = np.indices(OPTIONS).reshape(len(OPTIONS), -1).T
    accuracy = np.random.default_rng(0).permutation(np.linspace(20.0, 90.0, len(decisions)))
    np.savez(path, decisions=decisions, accuracy=accuracy)


def search_once(asked: argparse.Namespace) -> dict[str, Any]:
    """Run one search in this process; return what it cost."""
    from trial_overhead import Laps, Stopwatch

    from nas.search import search

    watches = [Stopwatch(time.thread_time), Stopwatch(time.perf_counter)]
    for watch in watches:
        _watch(watch)
    laps, ran = Laps(watches), []
    ended = laps.ended
    laps.ended = lambda *trial: (ended(*trial), ran.append(shares()))
    executor, _, _ = asked.one.partition("/")
    run = search(
        f"table:{asked.table},seconds={asked.seconds:g}",
        strategy=asked.strategy,
        budget=f"{asked.trials}trials",
        executor=executor,
        **({} if executor == "in_process" else _pool(asked.workers)),
        storage=asked.storage or None,
        run=Path(asked.folder) / "run",
        progress=laps,
    )
    found = check(run, asked)
    return {**found, **_costs(laps.rows, ran, asked)}


def _pool(workers: int) -> dict[str, Any]:
    """Return what is asked of the executor: so many workers on the processors of this machine, however few."""
    from nas.executors.worker import cpus

    return {"workers": workers, "cpus_per_trial": cpus() / workers}


def _watch(watch: Any) -> None:
    """Time the parts of a trial in the driver."""
    from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler

    from nas.candidates import Candidates
    from nas.cost import Counter
    from nas.driver import Driver
    from nas.record import Record
    from nas.run import Run

    for kind in (RandomSampler, TPESampler, NSGAIISampler):
        for method in ("infer_relative_search_space", "sample_relative", "sample_independent"):
            watch.wrap(kind, method, "sampling")
    for method in ("ask", "begin", "finish", "spend"):
        watch.wrap(Record, method, "recording")
    watch.wrap(Counter, "count", "counting")
    watch.wrap(Candidates, "propose", "closing, comparing")
    watch.wrap(Driver, "_submit", "handing out")
    watch.wrap(Driver, "_collect", "collecting")
    watch.wrap(Run, "log", "logging")


def check(run: Any, asked: argparse.Namespace) -> dict[str, Any]:
    """Return counts of the trials on record; ends with an error where one is lost, doubled or wrong."""
    from nas.architecture import Architecture
    from nas.evaluators.table import read_table

    trials, scores = run.trials(), read_table(asked.table)
    counted = [t for t in trials if t.counts]
    wrong = [
        t.number
        for t in counted
        if t.outcome != "complete" or t.values["miou"] != scores.score(Architecture(t.architecture))
    ]
    ends = Counts(t.digest for t in counted)
    log = map(json.loads, run.log_file.read_text().splitlines())
    logged = Counts(e["trial"] for e in log if e["event"] in {"complete", "failed", "duplicate"})
    problems = {
        "trials": len(counted) != asked.trials,
        "numbers": [t.number for t in trials] != list(range(len(trials))),
        "open": {t.outcome for t in trials} & {"running", "waiting"},
        "wrong": wrong,
        "doubled": [d for d, n in ends.items() if n > 1],
        "log": logged != Counts(range(len(trials))),
    }
    if any(problems.values()):
        raise SystemExit(f"{asked.one}: {problems}")
    return {"case": asked.one, "trials": len(counted), "records": len(trials)}


def _costs(
    rows: Sequence[Any], shares: Sequence[Shares], asked: argparse.Namespace
) -> dict[str, Any]:
    """Return the milliseconds of a trial: by part, of the first and last tenth; shares of the time; trials a second."""
    start = max(asked.workers, len(rows) // 10)
    body = [processor for processor, _ in rows[start:]]
    names = sorted({name for row in body for name in row} - {"whole"})
    tenth = max(1, len(body) // 10)
    parts = {n: _ms(row.get(n, 0.0) for row in body) for n in names}
    driver = _ms(row["whole"] for row in body)
    seconds = sum(clock["whole"] for _, clock in rows[start:])
    ran, queued = (b - a for a, b in zip(shares[start - 1], shares[-1], strict=True))
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "parts": {**parts, "rest": driver - sum(parts.values())},
        "driver": driver,
        "first": _ms(row["whole"] for row in body[:tenth]),
        "last": _ms(row["whole"] for row in body[-tenth:]),
        "per_second": len(body) / seconds,
        "runs": ran / seconds,
        "queues": queued / seconds,
        "workers": (children.ru_utime + children.ru_stime) * 1e3 / len(rows),
    }


def _ms(seconds: Iterable[float]) -> float:
    return statistics.mean(seconds) * 1e3


def shares() -> Shares:
    """Return the seconds that this thread has run, and those that it has waited for a processor."""
    ran, waited, _ = map(int, Path("/proc/thread-self/schedstat").read_text().split())
    return ran / 1e9, waited / 1e9


def case(name: str, asked: argparse.Namespace, folder: Path, url: str) -> dict[str, Any]:
    """Run one case in a process of its own; return what it cost."""
    given = {
        "one": name,
        "trials": asked.trials,
        "workers": asked.workers,
        "seconds": asked.seconds,
        "strategy": asked.strategy,
        "table": folder / "table.npz",
        "folder": tempfile.mkdtemp(dir=folder),
        "storage": url if name.endswith("postgresql") else "",
    }
    done = subprocess.run(
        [sys.executable, __file__, *(f"--{k}={v}" for k, v in given.items())],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    costs: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return costs


@contextmanager
def database(cases: Sequence[str]) -> Iterator[str]:
    """Yield the URL of a PostgreSQL server that is started here, "" where no case needs it."""
    if not any(name.endswith("postgresql") for name in cases):
        yield ""
        return
    sys.path.insert(0, str(ROOT))
    from tests.nas.storage.postgres import server

    with server() as running:
        yield running.url


def show(found: dict[str, Any]) -> None:
    """Print one case."""
    parts = ", ".join(f"{name} {ms:.2f}" for name, ms in found["parts"].items())
    growth = f"first tenth {found['first']:.2f}, last {found['last']:.2f}"
    shares = f"ran {found['runs']:.0%} of the time, queued for a processor {found['queues']:.0%}"
    ours = f"; workers {found['workers']:.1f} ms a trial, their start included"
    print(
        f"{found['case']}: {found['trials']} trials, none lost or doubled; {found['per_second']:.3g} a second\n"
        f"  driver {found['driver']:.2f} ms a trial ({parts}); {growth}\n"
        f"  it {shares}{ours if found['case'].startswith('processes') else ''}",
        flush=True,
    )


def main() -> None:
    """Run the cases, or the one that this process is for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.0, help="what a trial takes")
    parser.add_argument("--strategy", default="random")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--case", action="append", choices=("in_process/sqlite", *CASES))
    for name in ("one", "table", "folder", "storage"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(search_once(asked)))
        return
    cases = asked.case or CASES
    with tempfile.TemporaryDirectory(prefix="nas-") as name, database(cases) as url:
        write_table(Path(name) / "table.npz")
        for _ in range(asked.rounds):
            for one in cases:
                show(case(one, asked, Path(name), url))


if __name__ == "__main__":
    main()
