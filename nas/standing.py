"""Where a search stands: counts, best score, front, and for how many trials the front has not moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from nas import pareto
from nas.problem import Problem
from nas.record import TrialRecord


class Standing:
    """Kept up trial by trial, so that nothing is read or sorted again; a resumed run replays its record."""

    def __init__(self, problem: Problem, trials: Iterable[TrialRecord] = ()) -> None:
        self._directions = problem.directions
        self.counts: Counter[str] = Counter()
        self.counted = 0
        self.repaired = 0
        self.best: float | None = None
        self.front: list[TrialRecord] = []
        """Best in the first objective first."""
        self.stalled = 0
        for trial in trials:
            self.add(trial)

    def add(self, trial: TrialRecord) -> None:
        """Take in a trial that has ended; others are passed over."""
        if trial.outcome in {"running", "waiting"}:
            return
        self.counts[trial.outcome] += 1
        self.repaired += trial.repaired_from is not None
        self.counted += trial.counts
        if trial.outcome == "complete":
            self._place(trial)

    def _place(self, trial: TrialRecord) -> None:
        score = trial.values.get("miou")
        if score is not None:
            self.best = score if self.best is None else max(score, self.best)
        points = [tuple(t.values.values()) for t in (*self.front, trial)]
        kept = pareto.front(points, self._directions)
        entered = len(self.front) in kept and points[-1] not in points[:-1]
        self.stalled = 0 if entered else self.stalled + 1
        together = [*self.front, trial]
        best_first = self._directions[0] == "maximize"
        self.front = sorted((together[i] for i in kept), key=_first_objective, reverse=best_first)


def _first_objective(trial: TrialRecord) -> float:
    return next(iter(trial.values.values()))
