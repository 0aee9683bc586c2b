"""The best of the front again with more seeds: which differences are larger than the spread of a single training?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas import executors
from nas.candidates import derive_seed
from nas.confirmed import Confirmed, read_confirmed, read_scores, write_scores
from nas.errors import RunError
from nas.executors import Executor, Job, Note, Result
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
    """Hand out what is not known yet, as many at once as the executor takes; write each score when it is there."""
    known = read_scores(run)
    for trial in best:
        first = {"seed": trial.seed, "miou": trial.values["miou"]}
        known.setdefault(trial.architecture_id, [first])
    asked = [(t, seed) for t in best for seed in _seeds(run, t) if not _has(known, t, seed)]
    begun = ended = 0
    while ended < len(asked):
        while begun < min(len(asked), ended + executor.capacity):
            trial, seed = asked[begun]
            say(f"training {trial.architecture_id} with seed {seed}")
            executor.submit(_job(run, trial, seed, begun))
            begun += 1
        for event in executor.poll(1.0):
            if isinstance(event, Note):
                say(event.text)
            elif isinstance(event, Result):
                trial, seed = asked[event.number]
                miou = _score(run, trial, seed, event)
                known[trial.architecture_id].append({"seed": seed, "miou": miou})
                write_scores(run, known)
                ended += 1


def _has(known: Mapping[str, Any], trial: TrialRecord, seed: int) -> bool:
    return any(score["seed"] == seed for score in known[trial.architecture_id])


def _seeds(run: Run, trial: TrialRecord) -> Iterator[int]:
    for k in range(SEEDS):
        yield derive_seed(run.settings.seed, trial.number, f"confirm {k}")


def _job(run: Run, trial: TrialRecord, seed: int, number: int) -> Job:
    """Return the trial's job with another seed and number, and no deadline."""
    given = {"number": number, "architecture": trial.architecture, "seed": seed}
    return Job.of(run.settings, run.cache, **given)


def _score(run: Run, trial: TrialRecord, seed: int, result: Result) -> float:
    """Return the mIoU of a training; raises RunError where it has none."""
    if result.state != "complete":
        error = result.error or {"type": result.state, "text": "it was stopped"}
        what = f"{error['type']}: {error['text']}"
        raise RunError(f"{run.folder}: trial {trial.number} with seed {seed} failed again: {what}")
    return float(result.metrics["miou"])
