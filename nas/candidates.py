"""What the strategy proposes, judged before anything is trained: new, refused by a limit, or known already."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna

from nas import strategies
from nas.choosers import random_chooser
from nas.errors import PlanError
from nas.language.decide import decide
from nas.problem import Limits
from nas.resolve import closed
from nas.units import show_cost

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.cost import Counted, Counter
    from nas.record import Record, TrialRecord
    from nas.run import Settings
    from nas.space import Space

PATIENCE = 20
"""Draws in a row that bring nothing to train before an unseen architecture is put in the strategy's place."""
PATIENCE_COUNTED = 3
"""The same in a space that is counted out: there, few are left when a strategy repeats itself."""
COUNTED = {500: PATIENCE_COUNTED, 10_000: PATIENCE}
"""Spaces up to a size are counted out once so many draws in a row brought nothing: then it is known what is left."""
DRAWS = 1_000
"""Random draws in a row, all refused or known, after which a large space counts as used up."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trial that is worth training, with its costs."""

    trial: optuna.Trial
    architecture: Architecture
    counted: Counted
    costs: Mapping[str, float]

    @property
    def facts(self) -> dict[str, Any]:
        """What is known before training, as attributes of the trial."""
        return {
            "architecture_id": self.architecture.id,
            "architecture": self.architecture.text,
            "digest": self.counted.digest,
            **self.costs,
        }


class Candidates:
    """Asks the strategy, counts, and records at once what needs no training."""

    def __init__(self, space: Space, settings: Settings, record: Record, counter: Counter) -> None:
        self._space = space
        self._settings = settings
        self._limits = settings.problem.limits
        self._costs = settings.problem.costs
        self._record = record
        self._counter = counter
        self._strategy = strategies.find(settings.strategy)
        self._all: dict[str, Architecture] | None = None
        self._known = {t.digest: t for t in record.trials if _is_known(t)}
        self._idle, self._longest = _idle(record.trials)
        self._size = space.size()
        self.used_up = ""

    def propose(self) -> Candidate | TrialRecord | None:
        """Ask once; return what is to be trained, or the record of what need not be; None where `used_up` says why."""
        number = self._record.next_number
        fixed: dict[str, Any] | None = None
        if number == len(self._record.trials):
            self._check_left()
            patience = PATIENCE if self._all is None else PATIENCE_COUNTED
            if self._idle >= patience and not self.used_up:
                fixed = self._unseen(number)
            if self.used_up:
                return None
        sampler = self._strategy(derive_seed(self._settings.seed, number, "strategy"))
        trial = self._record.ask(sampler, fixed)
        judged = self._judge(trial)
        self._idle = 0 if isinstance(judged, Candidate) else self._idle + 1
        self._longest = max(self._longest, self._idle)
        return judged

    def learn(self, trial: TrialRecord) -> None:
        """Remember how a network ended, for the next time that it comes up."""
        if _is_known(trial):
            self._known[trial.digest] = trial

    def _judge(self, trial: optuna.Trial) -> Candidate | TrialRecord:
        architecture = closed(self._space, strategies.chooser(trial))
        try:
            counted = self._counter.count(architecture)
        except PlanError as error:
            return self._refuse(
                trial, {"builds": 1.0}, _facts(architecture) | {"reason": f"refused: {error}"}
            )
        costs = counted.costs(self._costs)
        candidate = Candidate(trial, architecture, counted, costs)
        broken = self._limits.broken(costs)
        excess = self._limits.excess(costs)
        if broken:
            reason = {"reason": f"refused: {', '.join(broken)}"}
            return self._refuse(trial, excess, candidate.facts | reason)
        _constrain(trial, excess)
        if counted.digest in self._known:
            return self._repeat(candidate, self._known[counted.digest])
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
        if earlier.outcome != "complete":
            return self._record.finish(
                candidate.trial.number, "failed", facts | {"error": earlier.error}
            )
        values = list(earlier.values.values())
        return self._record.finish(
            candidate.trial.number, "duplicate", facts | {"metrics": earlier.metrics}, values
        )

    def _unseen(self, number: int) -> dict[str, Any] | None:
        """Return the parameters of a random network that fits and is not known; sets `used_up` where there is none."""
        rng = random.Random(derive_seed(self._settings.seed, number, "unseen"))
        found = self._draw(rng) if self._all is None else rng.choice(self._left(self._all))
        if found is None:
            return None
        return strategies.parameters(self._space, decide(self._space, found))

    def _check_left(self) -> None:
        """Set `used_up` where the space has been counted out and nothing is left of it."""
        if self._all is None and any(
            self._size <= size and self._longest >= n for size, n in COUNTED.items()
        ):
            self._all = self.enumerate()
        if self._all == {}:
            self.used_up = (
                f"no network of the space fits the limits ({_caps(self._limits)}); raise a limit"
            )
        elif self._all is not None and not self._left(self._all):
            self.used_up = f"the space is used up: {len(self._all)} networks of it fit the limits, and all are scored"

    def _left(self, networks: Mapping[str, Architecture]) -> list[Architecture]:
        return [a for digest, a in networks.items() if digest not in self._known]

    def enumerate(self) -> dict[str, Architecture]:
        """Return every network of the space that fits the limits, by digest."""
        found: dict[str, Architecture] = {}
        for architecture in self._space.enumerate():
            digest = self._fitting(architecture)
            if digest is not None:
                found.setdefault(digest, architecture)
        return found

    def _draw(self, rng: random.Random) -> Architecture | None:
        smallest: dict[str, float] = {}
        fitting = 0
        for architecture in self._draws(rng):
            counted = self._count(architecture)
            if counted is None:
                continue
            costs = counted.costs(self._costs)
            smallest = {name: min(cost, smallest.get(name, cost)) for name, cost in costs.items()}
            if self._limits.broken(costs):
                continue
            fitting += 1
            if counted.digest not in self._known:
                return architecture
        self.used_up = _tight(self._limits, fitting, smallest)
        return None

    def _draws(self, rng: random.Random) -> Iterator[Architecture]:
        for _ in range(DRAWS):
            yield closed(self._space, random_chooser(rng))

    def _count(self, architecture: Architecture) -> Counted | None:
        try:
            return self._counter.count(architecture)
        except PlanError:
            return None

    def _fitting(self, architecture: Architecture) -> str | None:
        counted = self._count(architecture)
        if counted is None or self._limits.broken(counted.costs(self._costs)):
            return None
        return counted.digest


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


def _idle(trials: list[TrialRecord]) -> tuple[int, int]:
    """Return how many trials in a row brought nothing to train: now, and at most. A resumed run goes on from both."""
    idle = longest = 0
    for trial in trials:
        went_out = trial.counts or trial.outcome in {"stopped", "running", "waiting"}
        idle = 0 if went_out else idle + 1
        longest = max(longest, idle)
    return idle, longest


def _tight(limits: Limits, fitting: int, smallest: Mapping[str, float]) -> str:
    """Say why nothing new was found in `DRAWS` random draws."""
    if fitting:
        return f"the space is used up: of {DRAWS} random architectures {fitting} fit the limits, and all are scored"
    return f"none of {DRAWS} random architectures fits the limits ({_caps(limits, smallest)}); raise a limit"


def _caps(limits: Limits, smallest: Mapping[str, float] | None = None) -> str:
    """Return the limits as text, each with the smallest cost that was seen."""
    seen = {n: f", smallest seen {show_cost(n, cost)}" for n, cost in (smallest or {}).items()}
    caps = [f"{n} <= {show_cost(n, cap)}{seen.get(n, '')}" for n, cap in limits.items()]
    return "; ".join(caps) or "none can be built"
