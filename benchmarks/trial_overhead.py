"""What a trial costs beside its training: preparing, deduplicating, counting and recording, at 1,000 trials on record.

    python benchmarks/trial_overhead.py [--trials 1000] [--space real_time] [--strategy tpe] [--max-macs 5G]

Runs the driver's own loop on a SQLite study with an evaluator that costs nothing, times every part of it, and takes
the trials after the first nine tenths. The sampler's own time stands apart. Beside it: one real short training of a
network of the space on the built-in data. Ends with code 1 if the trial's part is 50 ms or more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna

from nas.architecture import Architecture, save_architecture
from nas.candidates import Candidates
from nas.evaluators import evaluator
from nas.executors.in_process import InProcessExecutor
from nas.progress import Silent, View
from nas.record import TrialRecord
from nas.run import Run
from nas.search import search

LIMIT_MS = 50.0
SIZE = (128, 256)


@evaluator("free")
class Free:
    """Scores by a digit of the architecture's id, in no time."""

    def evaluate(self, architecture: Architecture, job: Any, stop: Any) -> Iterator[dict[str, float]]:  # noqa: ARG002
        yield {"miou": int(architecture.id[:6], 16) / 16**6}


class Stopwatch:
    """Seconds by name, one entry per call; what is timed inside another is taken off the outer one."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)
        self._inner = [0.0]

    def wrap(self, owner: Any, method: str, name: str) -> None:
        """Time every call of `owner.method` under `name`."""
        plain = getattr(owner, method)

        def timed(*args: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            start = time.perf_counter()
            try:
                return plain(*args, **named)
            finally:
                took = time.perf_counter() - start
                self.times[name].append(took - self._inner.pop())
                self._inner[-1] += took

        setattr(owner, method, timed)


class Laps(Silent):
    """Takes the time between the ends of two trials, and what the sampler took of it."""

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch
        self._last = time.perf_counter()
        self._seen: dict[str, int] = defaultdict(int)
        self.rows: list[dict[str, float]] = []

    def ended(self, view: View, trial: TrialRecord) -> None:  # noqa: ARG002
        """Note one trial."""
        now = time.perf_counter()
        row = {"whole": now - self._last}
        for name, times in self._watch.times.items():
            row[name] = sum(times[self._seen[name] :])
            self._seen[name] = len(times)
        self.rows.append(row)
        self._last = time.perf_counter()


def timed_search(asked: argparse.Namespace, folder: Path) -> tuple[Run, list[dict[str, float]]]:
    """Return a search without training, and the seconds of each of its trials by part."""
    watch = Stopwatch()
    for kind in (optuna.samplers.TPESampler, optuna.samplers.NSGAIISampler, optuna.samplers.RandomSampler):
        for method in ("infer_relative_search_space", "sample_relative", "sample_independent"):
            watch.wrap(kind, method, "sampler")
    watch.wrap(InProcessExecutor, "poll", "evaluator")
    watch.wrap(Candidates, "_unseen", "looking for something unseen")
    laps = Laps(watch)
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


def training_seconds(run: Run, folder: Path) -> float:
    """Return how long one short training of a middling network of the run takes here, with the default recipe."""
    trials = sorted((t for t in run.trials() if t.macs), key=lambda t: t.macs or 0)
    middle = folder / "middle.yaml"
    save_architecture(Architecture(trials[len(trials) // 2].architecture), middle)
    done = search(
        run.space_file,
        data=f"street:images=100,size={SIZE[0]}x{SIZE[1]}",
        size=SIZE,
        budget="1trial",
        start_from=[middle],
        run=folder / "real",
        preflight=False,
        device="cpu",
        progress=False,
    )
    return float(done.trials()[0].seconds)


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
        parts = sorted({k for r in tail for k in r} - {"whole"})
        ours = [r["whole"] - sum(r.get(p, 0.0) for p in parts) for r in tail]
        decisions = statistics.mean(len(t.params) for t in _optuna_trials(run))
        print(f"{asked.space}, {asked.strategy}: {len(rows)} trials on record, {decisions:.0f} decisions each")
        show = _row("preparing, deduplicating, counting, recording", ours)
        for part in parts:
            _row(part, [r.get(part, 0.0) for r in tail])
        if not asked.no_training:
            seconds = training_seconds(run, Path(name))
            print(f"{'one real short training (default recipe, 80 images)':48} {seconds * 1e3:9.0f} ms")
        return 0 if show < LIMIT_MS else 1


def _row(what: str, seconds: list[float]) -> float:
    """Print median, mean and 90th percentile; return the mean in ms."""
    ms = sorted(s * 1e3 for s in seconds)
    mean = statistics.mean(ms)
    print(f"{what:48} median {statistics.median(ms):7.1f}  mean {mean:7.1f}  p90 {ms[len(ms) * 9 // 10]:7.1f} ms")
    return mean


def _optuna_trials(run: Run) -> Any:
    return optuna.load_study(study_name=run.folder.name, storage=run.study_url).trials


if __name__ == "__main__":
    sys.exit(main())
