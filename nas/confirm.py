"""The best of the front again with more seeds: which differences are larger than the spread of a single training?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nas import executors
from nas.candidates import derive_seed
from nas.confirmed import Confirmed, read_confirmed, read_scores, write_scores
from nas.errors import RunError
from nas.executors import Executor, Job, Result
from nas.front import front
from nas.record import TrialRecord
from nas.run import Run

SEEDS = 2


def confirm(
    run: Run | str | Path,
    number: int = 5,
    *,
    executor: Executor | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Confirmed]:
    """Train the `number` best of the front (by mIoU) again with two more seeds, as the search did.

    Each score is written when it is there, so that an interrupted confirmation goes on where it was. Raises RunError
    where the front is empty, or where a training fails.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    with run.lock():
        found = front(run)
        if not found.rows:
            raise RunError(
                f"{run.folder} has no trained network yet; go on with {run.resume_command}"
            )
        trials = {t.number: t for t in found.trials}
        best = [trials[row.trial] for row in found.rows[: max(1, number)]]
        own = executor is None
        executor = executor or executors.make(run.settings.pool)
        try:
            _train_again(run, best, executor, say)
        finally:
            if own:
                executor.close()
    return read_confirmed(run)


def _train_again(
    run: Run, best: Sequence[TrialRecord], executor: Executor, say: Callable[[str], None]
) -> None:
    known = read_scores(run)
    for trial in best:
        scores = known.setdefault(
            trial.architecture_id, [{"seed": trial.seed, "miou": trial.values["miou"]}]
        )
        for seed in _seeds(run, trial):
            if any(s["seed"] == seed for s in scores):
                continue
            say(f"training {trial.architecture_id} with seed {seed}")
            scores.append({"seed": seed, "miou": _trained(run, executor, _job(run, trial, seed))})
            write_scores(run, known)


def _seeds(run: Run, trial: TrialRecord) -> Iterator[int]:
    for k in range(SEEDS):
        yield derive_seed(run.settings.seed, trial.number, f"confirm {k}")


def _job(run: Run, trial: TrialRecord, seed: int) -> Job:
    """Return the trial's job with another seed, and no deadline."""
    given = {"number": trial.number, "architecture": trial.architecture, "seed": seed}
    return Job.of(run.settings, run.cache, **given)


def _trained(run: Run, executor: Executor, job: Job) -> float:
    """Return the job's mIoU; raises RunError where it has none."""
    executor.submit(job)
    while True:
        for event in executor.poll(1.0):
            if not isinstance(event, Result):
                continue
            if event.state != "complete":
                error = event.error or {"type": event.state, "text": "it was stopped"}
                what = f"{error['type']}: {error['text']}"
                raise RunError(
                    f"{run.folder}: trial {job.number} with seed {job.seed} failed again: {what}"
                )
            return float(event.metrics["miou"])
