"""What a trial costs beside its training: preparing, deduplicating, counting and recording, at 1,000 trials on record.

    python benchmarks/trial_overhead.py [--trials 1000] [--space real_time] [--strategy tpe] [--max-macs 5G]

Runs the driver's own loop on a SQLite study with an evaluator that costs nothing, times every part of it, and takes
the last tenth of the trials. The sampler's own time stands apart. Beside it: one real short training of a network of
the space on the built-in data. Processor time tells how much of the time is waiting for the disk or for other programs.
Ends with code 1 if the trial's part takes 50 ms or more on average.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from nas.architecture import Architecture, save_architecture
from nas.candidates import Candidates
from nas.cost import Counter
from nas.evaluators import evaluator
from nas.executors.in_process import InProcessExecutor
from nas.progress import Silent, View
from nas.record import Record, TrialRecord
from nas.run import Run
from nas.search import search

LIMIT_MS = 50.0
EPOCHS = 2
OURS = "preparing, deduplicating, counting, recording"
SIZE = (128, 256)


@evaluator("free")
class Free:
    """Scores by a digit of the architecture's id, in no time."""

    def evaluate(self, architecture: Architecture, *_: Any) -> Iterator[dict[str, float]]:
        """Yield one score."""
        yield {"miou": int(architecture.id[:6], 16) / 16**6}


class Stopwatch:
    """Seconds by name, summed; what is timed inside another is taken off the outer one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.times: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def wrap(self, owner: Any, method: str, name: str) -> None:
        """Time every call of `owner.method` under `name`."""
        plain = getattr(owner, method)

        def timed(*args: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            start = self.clock()
            try:
                return plain(*args, **named)
            finally:
                took = self.clock() - start
                self.times[name] += took - self._inner.pop()
                self._inner[-1] += took

        setattr(owner, method, timed)


class Laps(Silent):
    """Takes the time between the ends of two trials, and what each part took of it."""

    def __init__(self, watches: Sequence[Stopwatch]) -> None:
        self._watches = watches
        self._last = [w.clock() for w in watches]
        self.rows: list[tuple[dict[str, float], ...]] = []

    def ended(self, view: View, trial: TrialRecord) -> None:  # noqa: ARG002
        """Note one trial: seconds by part, per watch."""
        laps = zip(self._watches, self._last, strict=True)
        self.rows.append(tuple({"whole": w.clock() - last, **w.times} for w, last in laps))
        for watch in self._watches:
            watch.times.clear()
        self._last = [w.clock() for w in self._watches]


def timed_search(
    asked: argparse.Namespace, folder: Path
) -> tuple[Run, list[tuple[dict[str, float], ...]]]:
    """Return a search without training, and the seconds of each of its trials by part."""
    watches = [Stopwatch(time.perf_counter), Stopwatch(time.process_time)]
    for watch in watches:
        _watch(watch)
    laps = Laps(watches)
    run = search(
        asked.space,
        data=f"street:images=12,size={SIZE[0]}x{SIZE[1]}",
        size=SIZE,
        budget=f"{asked.trials}trials",
        strategy=asked.strategy,
        max_macs=asked.max_macs,
        evaluator="free",
        executor="in_process",
        run=folder / "run",
        preflight=False,
        device="cpu",
        progress=laps,
    )
    return run, laps.rows


def _watch(watch: Stopwatch) -> None:
    """Time the parts of a trial."""
    for kind in (
        optuna.samplers.TPESampler,
        optuna.samplers.NSGAIISampler,
        optuna.samplers.RandomSampler,
    ):
        for method in ("infer_relative_search_space", "sample_relative", "sample_independent"):
            watch.wrap(kind, method, "sampler")
    for method in ("ask", "begin", "finish", "spend"):
        watch.wrap(Record, method, "  of it: recording")
    watch.wrap(Counter, "count", "  of it: counting")
    watch.wrap(InProcessExecutor, "poll", "evaluator")
    watch.wrap(Candidates, "_substitute", "looking for something unseen")


def training_seconds(run: Run, folder: Path) -> float:
    """Return how long one short training of a middling network of the run takes here, with the default recipe."""
    trials = sorted((t for t in run.trials() if t.macs), key=lambda t: t.macs or 0)
    middle = folder / "middle.yaml"
    save_architecture(Architecture(trials[len(trials) // 2].architecture), middle)
    done = search(
        run.space_file,
        data=f"street:images=100,size={SIZE[0]}x{SIZE[1]}",
        recipe={"epochs": EPOCHS},
        size=SIZE,
        budget="1trial",
        start_from=[middle],
        run=folder / "real",
        preflight=False,
        device="cpu",
        progress=False,
    )
    trial = done.trials()[0]
    if trial.outcome != "complete":
        raise SystemExit(f"the training did not end: {trial.reason}")
    return trial.seconds


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--space", default="real_time")
    parser.add_argument("--strategy", default="tpe")
    parser.add_argument("--max-macs", default=None)
    parser.add_argument("--no-training", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run, rows = timed_search(asked, Path(name))
        tail = rows[len(rows) * 9 // 10 :]
        decisions = statistics.mean(len(t.params) for t in _optuna_trials(run))
        print(
            f"{asked.space}, {asked.strategy}: {len(rows)} trials on record, {decisions:.0f} decisions each"
        )
        parts = sorted({name for row in tail for watch in row for name in watch} - {"whole"})
        show = _row(
            OURS,
            tail,
            lambda r: r["whole"] - sum(r.get(p, 0.0) for p in parts if not p.startswith(" ")),
        )
        for part in parts:
            _row(part, tail, partial(_part, part))
        if not asked.no_training:
            seconds = training_seconds(run, Path(name))
            print(f"{'one real short training (2 epochs of 80 images)':48} {seconds * 1e3:9.0f} ms")
        return 0 if show < LIMIT_MS else 1


def _row(
    what: str,
    rows: Sequence[tuple[dict[str, float], ...]],
    pick: Callable[[dict[str, float]], float],
) -> float:
    """Print median, mean and 90th percentile, and the mean of processor time; return the mean in ms."""
    ms = sorted(pick(wall) * 1e3 for wall, _ in rows)
    cpu = statistics.mean(pick(processor) * 1e3 for _, processor in rows)
    mean = statistics.mean(ms)
    times = (
        f"median {statistics.median(ms):7.1f}  mean {mean:7.1f}  p90 {ms[len(ms) * 9 // 10]:7.1f}"
    )
    print(f"{what:48} {times}  processor {cpu:7.1f} ms")
    return mean


def _part(name: str, seconds: dict[str, float]) -> float:
    return seconds.get(name, 0.0)


def _optuna_trials(run: Run) -> Any:
    return optuna.load_study(study_name=run.folder.name, storage=run.study_url).trials


if __name__ == "__main__":
    sys.exit(main())
