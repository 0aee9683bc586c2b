"""The loop of a search: ask, check, hand out, collect, write. It is the only writer of the study."""

from __future__ import annotations

import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any, NoReturn

from nas.candidates import Candidate, Candidates, derive_seed
from nas.errors import LimitError
from nas.executors import Executor
from nas.full_disk import TOLD, full_disk
from nas.job import GROUNDWORK, Job, Note, Result
from nas.progress import Progress, View
from nas.record import Outcome, Record, TrialRecord
from nas.run import Ended, Run
from nas.spent import Spent
from nas.standing import Standing

POLL = 0.25
"""Seconds between two looks at the clock and at Ctrl-C."""
PATIENCE = 15.0
"""Seconds that a trial in flight has to stop after Ctrl-C, before its worker is ended."""
FAILURES = 10
"""Trained trials in a row that all fail, after which the search ends: something is wrong with all of them."""


class Interrupt:
    """Ctrl-C and SIGTERM: the first one is remembered, the second raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Handle a signal."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals in this block; in any other thread than the main one leave them alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {n: signal.signal(n, self) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Driver:
    """Runs a search to its end. The run is locked, the record open, the executor ours alone."""

    def __init__(
        self,
        run: Run,
        record: Record,
        candidates: Candidates,
        *,
        executor: Executor,
        progress: Progress,
    ) -> None:
        self._run = run
        self._record = record
        self._candidates = candidates
        self._executor = executor
        self._progress = progress
        self._spent = Spent(record, run.settings.gpus_per_trial)
        self._interrupt = Interrupt()
        self._out: dict[int, Job] = {}
        self._running: dict[int, Mapping[str, Any]] = {}
        self._deaths: dict[int, int] = {}
        self._again: list[Job] = []
        self._standing = Standing(run.problem, record.trials)
        self._failures = 0
        self._late = False
        self._failure = ""
        self.note = ""

    def search(self) -> Ended:
        """Run trials until something ends the search; return what it was. A second Ctrl-C raises KeyboardInterrupt."""
        self._sweep()
        with self._interrupt.installed():
            try:
                ended = self._loop()
                self._drain()
            finally:
                self._executor.close()
                self._spent.save(0.0)
        self._run.log("ended", why=ended, note=self.note, seconds_used=self._spent.seconds)
        return ended

    @property
    def view(self) -> View:
        """The present state, for the progress view."""
        standing = self._standing
        return View(
            name=f"{self._run.settings.space}  {self._run.folder}",
            problem=self._run.problem,
            seconds_used=self._spent.seconds,
            gpu_seconds_used=self._spent.gpu_seconds,
            counts=standing.counts,
            counted=standing.counted,
            repaired=standing.repaired,
            best=standing.best,
            front=standing.front,
            running=dict(self._running),
            epochs=self._run.settings.recipe.get("epochs"),
            note="stopping: the trial in flight is given back; Ctrl-C again stops at once"
            if self._interrupt.asked
            else self.note,
        )

    def _sweep(self) -> None:
        """Remove what trials left that had ended when an earlier driver was killed."""
        waiting = {str(t.number) for t in self._record.trials if t.outcome == "waiting"}
        for folder in (self._run.folder / "trials").glob("*"):
            if folder.name not in waiting:
                shutil.rmtree(folder, ignore_errors=True)

    def _loop(self) -> Ended:
        told = False
        while True:
            ended = self._ended()
            if self._is_late() and not told:
                self._executor.stop_current()
                self._give_up_again()
                told = True
            if ended == "interrupted" or (ended and not self._out and not self._again):
                return ended
            self._step(ended)
            self._spent.count(len(self._out))
            self._spent.save()
            self._progress.update(self.view)

    def _step(self, ended: Ended) -> None:
        """Wait for what is out where nothing more can go out; else hand out what comes back first, then what is new."""
        full = len(self._out) >= self._executor.capacity or GROUNDWORK in self._out
        if full or (ended and not self._again):
            self._collect(POLL)
        elif self._again:
            self._submit(replace(self._again.pop(0), seconds_left=self._seconds_left))
        else:
            self._propose()

    def _give_up_again(self) -> None:
        """At the deadline, end what waits to go out once more."""
        for job in self._again:
            self._out[job.number] = job
            self._take(Result(job.number, "stopped"))
        self._again = []

    def _ended(self) -> Ended:
        """Return why nothing more is to be handed out, "" as long as something is."""
        budget = self._run.problem.budget
        stall = self._run.settings.stall
        if self._interrupt.asked:
            return "interrupted"
        if self._is_late():
            return "budget"
        if budget.trials is not None and self._standing.counted + self._promised >= budget.trials:
            return "budget"
        if self._candidates.used_up:
            self.note = self._candidates.used_up
            return "used up"
        if self._failure:
            self.note = self._failure
            return "failing"
        if self._failures >= FAILURES:
            self.note = f"the last {FAILURES} trained trials all failed"
            return "failing"
        if stall is not None and self._standing.stalled >= stall:
            self.note = f"the front has not improved for {self._standing.stalled} trials"
            return "stalled"
        return ""

    @property
    def _promised(self) -> int:
        """How many trials have begun and not ended."""
        return len(self._out) + len(self._again)

    def _is_late(self) -> bool:
        return self._late or self._spent.reaches(self._run.problem.budget)

    def _propose(self) -> None:
        """Ask for one architecture; hand it out if it is new. A strategy may want something else done before."""
        proposed = self._candidates.propose()
        if isinstance(proposed, Candidate):
            self._hand_out(proposed)
        elif isinstance(proposed, Job):
            self._submit(replace(proposed, seconds_left=self._seconds_left))
        elif proposed is not None:
            self._end(proposed)

    def _hand_out(self, candidate: Candidate) -> None:
        number, settings = candidate.trial.number, self._run.settings
        seed = derive_seed(settings.seed, number, "training")
        self._record.begin(candidate.trial, candidate.facts | {"seed": seed})
        job = Job.of(
            settings,
            self._run.cache,
            number=number,
            architecture=candidate.architecture.text,
            seed=seed,
            folder=self._run.trial_folder(number).resolve(),
            seconds_left=self._seconds_left,
        )
        self._submit(job)

    @property
    def _seconds_left(self) -> float | None:
        return self._spent.left(self._run.problem.budget)

    def _submit(self, job: Job) -> None:
        if job.number == GROUNDWORK:
            self._run.log("began", groundwork=job.evaluator, given=_brief(job))
        else:
            architecture_id = self._record.trials[job.number].architecture_id
            self._run.log("began", trial=job.number, architecture=architecture_id)
        self._out[job.number] = job
        self._running[job.number] = {}
        self._executor.submit(job)

    def _collect(self, timeout: float) -> None:
        """Take in what the executor has to say."""
        for event in self._executor.poll(timeout):
            self._spent.count(len(self._out))
            if isinstance(event, Result):
                self._take(event)
            elif isinstance(event, Note):
                self._run.log("note", text=event.text)
                self._progress.say(event.text)
            else:
                self._running[event.number] = event.values
                self._spent.save()
                self._progress.update(self.view)

    def _take(self, result: Result) -> None:
        """Write the result of a trial; a trial whose worker died goes out again."""
        job = self._out.pop(result.number)
        self._running.pop(result.number, None)
        if result.state == "died" and self._died(job, result):
            return
        if (result.error or {}).get("text", "").startswith(TOLD):
            self._stop_for_space(job, result)
        if job.number == GROUNDWORK:
            self._prepare(job, result)
            return
        if result.state == "stopped" and self._interrupt.asked:
            self._give_back(job.number)
            return
        if result.state == "stopped":
            self._late = True
        outcome, facts, values = self._judge(result)
        trial = self._record.finish(job.number, outcome, facts, values)
        shutil.rmtree(self._run.trial_folder(job.number), ignore_errors=True)
        self._failures = self._failures + 1 if outcome == "failed" else 0
        self._candidates.learn(trial)
        self._end(trial)

    def _stop_for_space(self, job: Job, result: Result) -> NoReturn:
        """Give back all that is out: where one trial finds the disk full, the others do too. Raises StorageError."""
        self._run.log("disk full", trial=job.number, error=result.error)
        for number in [job.number, *self._out, *(again.number for again in self._again)]:
            self._give_back(number)
        raise full_disk(self._run.folder, _text(result))

    def _prepare(self, job: Job, result: Result) -> None:
        """Take in what a strategy wanted done; without it the search cannot go on."""
        if result.state == "complete":
            # The next groundwork is another job with the same number: it may be tried twice, too.
            self._deaths.pop(GROUNDWORK, None)
            for line in self._candidates.prepare(result.metrics):
                self._progress.say(line)
        elif result.state != "stopped":
            self._failure = f"the {job.evaluator} failed: {_text(result)}"
        elif not self._interrupt.asked:
            self._late = True
        self._run.log(
            result.state,
            groundwork=job.evaluator,
            given=_brief(job),
            seconds=round(result.seconds, 3),
            error=result.error,
        )

    def _died(self, job: Job, result: Result) -> bool:
        """Return whether the job will be handed out again, which a job is as often as the pool says."""
        self._deaths[job.number] = self._deaths.get(job.number, 0) + 1
        self._run.log(
            "worker died",
            trial=job.number,
            error=result.error,
            time_number=self._deaths[job.number],
        )
        tries = self._run.settings.pool.tries
        if self._deaths[job.number] >= tries or self._is_late():
            return False
        what = job.evaluator if job.number == GROUNDWORK else f"trial {job.number}"
        again = f"{self._deaths[job.number]} of {tries - 1}"
        self._progress.say(f"{what}: {_text(result)}; it goes out again ({again})")
        self._again.append(job)
        return True

    def _judge(self, result: Result) -> tuple[Outcome, dict[str, Any], list[float] | None]:
        """Return outcome, attributes and values of a result."""
        facts: dict[str, Any] = {
            "seconds": round(result.seconds, 3),
            "epochs": [dict(e) for e in result.epochs],
        }
        if result.state == "stopped":
            return "stopped", facts | {"reason": "stopped at the deadline"}, None
        if result.state != "complete":
            return (
                "failed",
                facts | {"reason": f"failed: {_text(result)}", "error": dict(result.error or {})},
                None,
            )
        facts["metrics"] = dict(result.metrics)
        trial = self._record.trials[result.number]
        try:
            values = self._run.problem.values({**result.metrics, **trial.costs})
        except (LimitError, TypeError, ValueError) as error:
            return "failed", facts | {"reason": f"failed: {error}"}, None
        if not all(map(math.isfinite, values)):
            return "failed", facts | {"reason": f"failed: the score is {values[0]}"}, None
        return "complete", facts, list(values)

    def _end(self, trial: TrialRecord) -> None:
        """Count and show a trial that has ended."""
        self._standing.add(trial)
        self._run.log(
            trial.outcome,
            trial=trial.number,
            architecture=trial.architecture_id,
            reason=trial.reason,
            values=dict(trial.values),
            seconds=trial.seconds,
            repaired_from=trial.repaired_from,
        )
        self._progress.ended(self.view, trial)

    def _drain(self) -> None:
        """After Ctrl-C: let what is out stop, write what is finished, give back the rest."""
        if self._out:
            self._progress.update(self.view)
            self._executor.stop_current()
        end = time.monotonic() + PATIENCE
        while self._out and time.monotonic() < end:
            self._collect(POLL)
        for number in [*self._out, *(job.number for job in self._again)]:
            self._give_back(number)
        self._again = []

    def _give_back(self, number: int) -> None:
        self._out.pop(number, None)
        if number == GROUNDWORK:
            return
        self._record.give_back(number)
        self._run.log("given back", trial=number)


def _brief(job: Job) -> dict[str, Any]:
    """Return what is short of what a job was given."""
    return {k: v for k, v in job.given.items() if isinstance(v, int | float)}


def _text(result: Result) -> str:
    error = result.error or {}
    return f"{error.get('type', result.state)}: {error.get('text', '')}".rstrip(": ")
