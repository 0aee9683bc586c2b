"""What the strategy proposes, judged before anything is trained: new, refused by a limit, or known already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import optuna

from nas import strategies
from nas.architecture import Architecture
from nas.draws import Drawer, Drawn
from nas.errors import PlanError
from nas.job import Job
from nas.record import IN_TRAINING
from nas.resolve import closed
from nas.unseen import LISTED, Unseen

if TYPE_CHECKING:
    from nas.cost import Counted, Counter
    from nas.record import Record, TrialRecord
    from nas.run import Settings
    from nas.space import Space
    from nas.strategies.differentiable import Guide

PATIENCE = 20
"""Draws in a row that give networks known already before an unseen one is put in the strategy's place."""
PATIENCE_COUNTED = 3
"""The same in a space that is counted out: there, few are left when a strategy repeats itself."""
COUNTED = {500: PATIENCE_COUNTED, LISTED: PATIENCE}
"""Spaces up to a size are counted out once so many draws in a row brought nothing: then it is known what is left."""
RARE = ((44, 0), (64, 1), (81, 2))
"""Something is rare where at most so many of the strategy's last proposals were that: (proposals, at most).

Where a tenth of all proposals is, each of these happens once in a hundred times.
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trial that is worth training, with its costs."""

    trial: optuna.Trial
    architecture: Architecture
    counted: Counted
    costs: Mapping[str, float]
    facts_of_substitute: Mapping[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """What is known before training, as attributes of the trial."""
        return {
            "architecture_id": self.architecture.id,
            "architecture": self.architecture.text,
            "digest": self.counted.digest,
            **self.costs,
            **self.facts_of_substitute,
        }


@dataclass(frozen=True, slots=True)
class Substitute:
    """What is tried in the sampler's place: its parameters, and what is to be noted of where it comes from."""

    params: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Candidates:
    """Asks the strategy, counts, and records at once what needs no training."""

    def __init__(
        self,
        space: Space,
        settings: Settings,
        record: Record,
        counter: Counter,
        guide: Guide | None = None,
    ) -> None:
        self._space = space
        self._settings = settings
        self._limits = settings.problem.limits
        self._costs = settings.problem.costs
        self._record = record
        self._counter = counter
        self._strategy = strategies.find(settings.strategy)
        self._known = {t.digest: t.number for t in record.trials if _is_known(t)}
        self._unseen = Unseen(Drawer(space, counter), self._limits, self._known.__contains__)
        self._idle, self._longest = _idle(record.trials)
        self._size = space.size()
        self._guide = guide

    @property
    def used_up(self) -> str:
        """Why there is nothing left to propose; "" as long as there is."""
        return self._unseen.used_up if self._guide is None else self._guide.used_up

    def propose(self) -> Candidate | TrialRecord | Job | None:
        """Ask once; return what is to be trained, or the record of what need not be; None where `used_up` says why.

        A job has to be run before anything can be proposed; `prepare` takes its metrics.
        """
        number = self._record.next_number
        said: Substitute | Job | None = None
        if number == len(self._record.trials):
            said = self._substitute(number) if self._guide is None else self._guided(number)
        if isinstance(said, Job):
            return said
        if said is None and self.used_up and number == len(self._record.trials):
            return None
        return self._asked(number, said)

    def _asked(self, number: int, substitute: Substitute | None) -> Candidate | TrialRecord:
        """Ask for trial `number`, with these parameters if there are any, and judge it."""
        sampler = self._strategy(derive_seed(self._settings.seed, number, "strategy"))
        trial = self._record.ask(sampler, substitute.params if substitute else None)
        judged = self._judge(trial, substitute.facts if substitute else {})
        if isinstance(judged, Candidate):
            self._known[judged.counted.digest] = number
            self._idle = 0
        elif not is_refused(judged):
            self._idle += 1
        self._longest = max(self._longest, self._idle)
        return judged

    def learn(self, trial: TrialRecord) -> None:
        """Remember how a network ended, for the next time that it comes up."""
        if not _is_known(trial) and self._known.get(trial.digest) == trial.number:
            del self._known[trial.digest]

    def prepare(self, metrics: Mapping[str, Any]) -> list[str]:
        """Take in what the job found that `propose` asked for; return what a person should know of it."""
        assert self._guide is not None
        return self._guide.take(metrics)

    def _judge(self, trial: optuna.Trial, facts: Mapping[str, Any]) -> Candidate | TrialRecord:
        architecture = closed(self._space, strategies.chooser(trial))
        try:
            counted = self._counter.count(architecture)
        except PlanError as error:
            return self._refuse(
                trial,
                {"builds": 1.0},
                {**facts, **_facts(architecture), "reason": f"refused: {error}"},
            )
        costs = counted.costs(self._costs)
        candidate = Candidate(trial, architecture, counted, costs, facts)
        broken = self._limits.broken(costs)
        excess = self._limits.excess(costs)
        if broken:
            reason = {"reason": f"refused: {', '.join(broken)}"}
            return self._refuse(trial, excess, candidate.facts | reason)
        _constrain(trial, excess)
        if counted.digest in self._known:
            return self._repeat(candidate, self._record.trials[self._known[counted.digest]])
        return candidate

    def _refuse(
        self, trial: optuna.Trial, excess: Mapping[str, float], facts: Mapping[str, Any]
    ) -> TrialRecord:
        _constrain(trial, excess)
        return self._record.finish(trial.number, "refused", facts)

    def _repeat(self, candidate: Candidate, earlier: TrialRecord) -> TrialRecord:
        """Take over what is known of the same network; it does not count as a trial of the budget."""
        facts = candidate.facts | {
            "duplicate_of": earlier.number,
            "reason": f"duplicate of {earlier.number}",
        }
        number = candidate.trial.number
        if earlier.outcome == "complete":
            known = facts | {"metrics": earlier.metrics}
            return self._record.finish(number, "duplicate", known, list(earlier.values.values()))
        if earlier.outcome == "failed":
            return self._record.finish(number, "failed", facts | {"error": earlier.error})
        training = {"reason": f"{IN_TRAINING} as trial {earlier.number}"}
        return self._record.finish(number, "duplicate", facts | training)

    def _substitute(self, number: int) -> Substitute | None:
        """Return what is to be tried in the strategy's place, if anything; `used_up` says where nothing is left."""
        trials, counted_out = self._record.trials, self._is_counted_out
        if counted_out and not self._unseen.left():
            return self._other(number)
        last = trials[-1] if trials else None
        if last and is_refused(last) and last.repaired_from is None and is_rare(_is_new, trials):
            return self._repaired(number, last)
        if self._idle >= (PATIENCE_COUNTED if counted_out else PATIENCE):
            return self._other(number)
        return None

    def _repaired(self, number: int, refused: TrialRecord) -> Substitute | None:
        rng = Random(derive_seed(self._settings.seed, number, "repair"))
        found = self._unseen.repaired(Architecture(refused.architecture), rng)
        if found is None:
            return self._other(number)
        return self._instead(found, refused)

    def _instead(self, found: Drawn, refused: TrialRecord) -> Substitute:
        facts = {"repaired_from": refused.number}
        return Substitute(strategies.parameters(self._space, found.taken), facts)

    def _guided(self, number: int) -> Substitute | Job | None:
        """Return what the guide says; where its last proposal was over a limit, what is within and close to that."""
        assert self._guide is not None
        last = self._record.trials[-1] if self._record.trials else None
        if last and is_refused(last) and last.snapshot is not None:
            rng = Random(derive_seed(self._settings.seed, number, "repair"))
            found = self._unseen.repaired(Architecture(last.architecture), rng)
            if found is not None:
                return self._instead(found, last)
        said = self._guide.next()
        if said is None or isinstance(said, Job):
            return said
        noted = {name: value for name, value in said.items() if name != "decisions"}
        params = strategies.parameters(self._space, said["decisions"])
        return Substitute(params, {"snapshot": noted})

    def _other(self, number: int) -> Substitute | None:
        rng = Random(derive_seed(self._settings.seed, number, "unseen"))
        if self._is_counted_out:
            found = self._unseen.any_left(rng)
        else:
            trials = self._record.trials
            known = [t.architecture for t in trials if _is_known(t)]
            rarely_fit = is_rare(lambda trial: not is_refused(trial), trials)
            found = self._unseen.other(known, rng, rarely_fit=rarely_fit)
        if found is None:
            return None
        return Substitute(strategies.parameters(self._space, found.taken))

    @property
    def _is_counted_out(self) -> bool:
        return any(self._size <= size and self._longest >= n for size, n in COUNTED.items())


def derive_seed(run_seed: int, number: int, use: str) -> int:
    """Return the seed (31 bits) of one use of randomness in trial `number`."""
    text = f"{run_seed}/{number}/{use}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") >> 1


def _constrain(trial: optuna.Trial, excess: Mapping[str, float]) -> None:
    """Tell the sampler how far each limit is away; a trial that waited may carry it already."""
    known = trial.constraints
    for name, value in excess.items():
        if name not in known:
            trial.set_constraint(name, value)


def _facts(architecture: Architecture) -> dict[str, Any]:
    return {"architecture_id": architecture.id, "architecture": architecture.text}


def _is_known(trial: TrialRecord) -> bool:
    return trial.counts and trial.digest != ""


def is_refused(trial: TrialRecord) -> bool:
    """Return whether a trial broke a limit; one that cannot be built has no costs."""
    return trial.outcome == "refused" and trial.digest != ""


def is_rare(wanted: Callable[[TrialRecord], bool], trials: Sequence[TrialRecord]) -> bool:
    """Return whether the strategy's own proposals have rarely been `wanted` of late."""
    most = max(number for number, _ in RARE)
    found: list[bool] = []
    for trial in reversed(trials):
        if trial.digest and trial.repaired_from is None and not trial.start_from:
            found.append(wanted(trial))
        if len(found) == most:
            break
    return any(len(found) >= number and sum(found[:number]) <= few for number, few in RARE)


def _is_new(trial: TrialRecord) -> bool:
    return not is_refused(trial) and trial.duplicate_of is None


def _idle(trials: Sequence[TrialRecord]) -> tuple[int, int]:
    """Return how many trials in a row gave known networks: now, and at most. A resumed run goes on from both."""
    idle = longest = 0
    for trial in trials:
        if trial.counts or trial.outcome in {"stopped", "running", "waiting"}:
            idle = 0
        elif not is_refused(trial):
            idle += 1
        longest = max(longest, idle)
    return idle, longest
