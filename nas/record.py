"""The record of a search: an Optuna study in the run's database, and the same study in memory for the sampler.

The driver is the only writer. It draws from the copy in memory, and writes a trial with one transaction once it knows
what becomes of it: a driver that dies while it draws leaves nothing behind, and the next one draws the same.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import optuna
import sqlalchemy
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from nas.errors import RunError
from nas.rows import write_trial
from nas.units import COSTS

Outcome = Literal["complete", "duplicate", "refused", "failed", "stopped", "running", "waiting"]
STATES: dict[Outcome, TrialState] = {
    "complete": TrialState.COMPLETE,
    "duplicate": TrialState.COMPLETE,
    "refused": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "stopped": TrialState.FAIL,
    "running": TrialState.RUNNING,
    "waiting": TrialState.WAITING,
}
STOPPED = "stopped"
IN_TRAINING = "in training"
SECONDS_USED = "seconds_used"
TIMEOUT = 60


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial as it stands on record; `values` holds the objectives by name ("complete" and "duplicate" only).

    A failed trial with `duplicate_of` is a network that failed before: it was not trained again. `repaired_from` is
    the refused trial that this one was made of, to keep the limits. `snapshot` says of what a supernet pointed to:
    {"branch", "epoch", "targets", "expected", "supernet_miou", ...}.
    """

    number: int
    outcome: Outcome
    architecture_id: str = ""
    architecture: str = ""
    digest: str = ""
    macs: int | None = None
    params: int | None = None
    memory: int | None = None
    latency: float | None = None
    seed: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    epochs: Sequence[Mapping[str, Any]] = ()
    seconds: float = 0.0
    reason: str = ""
    error: Mapping[str, str] | None = None
    duplicate_of: int | None = None
    repaired_from: int | None = None
    start_from: str = ""
    snapshot: Mapping[str, Any] | None = None
    started: datetime | None = None
    ended: datetime | None = None

    @property
    def costs(self) -> dict[str, float]:
        """The costs that were counted, by name."""
        known = ((name, getattr(self, name)) for name in COSTS)
        return {name: cost for name, cost in known if cost is not None}

    @property
    def counts(self) -> bool:
        """Whether the trial used up one of the budget's trials: it was trained, well or not."""
        return self.outcome == "complete" or (
            self.outcome == "failed" and self.duplicate_of is None
        )


ATTRIBUTES = tuple(
    name
    for name in TrialRecord.__dataclass_fields__
    if name not in {"number", "outcome", "values", "started", "ended"}
)


def read_trials(url: str, objectives: Sequence[str]) -> list[TrialRecord]:
    """Return the trials of the study at `url`, in order of their numbers; [] where there is no study yet."""
    if _is_missing(url):
        return []
    with _storage(url) as storage:
        studies = storage.get_all_studies()
        if not studies:
            return []
        study = optuna.load_study(study_name=studies[0].study_name, storage=storage)
        return [trial_record(t, objectives) for t in study.get_trials(deepcopy=False)]


def read_seconds(url: str) -> float:
    """Return the seconds of its budget that the search has used, as last written."""
    if _is_missing(url):
        return 0.0
    with _storage(url) as storage:
        studies = storage.get_all_studies()
        attrs = storage.get_study_user_attrs(studies[0]._study_id) if studies else {}  # noqa: SLF001
        return float(attrs.get(SECONDS_USED, 0.0))


def _is_missing(url: str) -> bool:
    """Return whether the URL names a SQLite file that is not there: opening it would make one."""
    parsed = sqlalchemy.make_url(url)
    return parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists()


def trial_record(trial: FrozenTrial, objectives: Sequence[str]) -> TrialRecord:
    """Return what Optuna keeps of a trial as our record; unknown attributes are left out."""
    facts = {name: trial.user_attrs[name] for name in ATTRIBUTES if name in trial.user_attrs}
    outcome = _outcome(trial.state, facts)
    has_values = trial.state == TrialState.COMPLETE
    return TrialRecord(
        number=trial.number,
        outcome=outcome,
        values=dict(zip(objectives, trial.values, strict=True)) if has_values else {},
        started=trial.datetime_start,
        ended=trial.datetime_complete,
        **facts,
    )


def _outcome(state: TrialState, facts: Mapping[str, Any]) -> Outcome:
    if state == TrialState.COMPLETE:
        return "complete" if facts.get("duplicate_of") is None else "duplicate"
    if state == TrialState.FAIL:
        ends: dict[str, Outcome] = {STOPPED: "stopped", IN_TRAINING: "duplicate"}
        reason = str(facts.get("reason", ""))
        return next((o for start, o in ends.items() if reason.startswith(start)), "failed")
    return next(outcome for outcome, of in STATES.items() if of == state)


@contextlib.contextmanager
def _storage(url: str) -> Iterator[RDBStorage]:
    storage = open_storage(url)
    try:
        yield storage
    finally:
        storage.engine.dispose()


def open_storage(url: str) -> RDBStorage:
    """Return the storage at an SQLAlchemy URL; a SQLite file is opened with WAL, so that readers never wait."""
    is_sqlite = sqlalchemy.make_url(url).get_backend_name() == "sqlite"
    storage = RDBStorage(
        url, engine_kwargs={"connect_args": {"timeout": TIMEOUT}} if is_sqlite else None
    )
    if is_sqlite:
        sqlalchemy.event.listen(storage.engine, "connect", _tune_sqlite)
        storage.engine.dispose()
    return storage


def _tune_sqlite(connection: Any, _: Any) -> None:
    """Set what SQLite keeps per connection; a power cut may cost the last trials, a kill costs none."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


class Record:
    """The driver's side of the record: draws trials, writes what becomes of them, gives orphans back.

    Whoever makes one holds the run's lock: a trial found RUNNING belongs to a driver that is dead.
    """

    def __init__(self, url: str, name: str, objectives: Mapping[str, str]) -> None:
        self.objectives = tuple(objectives)
        self._storage = open_storage(url)
        directions: Any = list(objectives.values())
        with _quiet():
            study = optuna.create_study(
                study_name=name, storage=self._storage, directions=directions, load_if_exists=True
            )
            study.set_metric_names(list(objectives))
            self._memory = optuna.create_study(directions=directions)
        self._id = study._study_id  # noqa: SLF001 - the key in the tables; Optuna has no public way to it
        found = [d.name.lower() for d in study.directions]
        if found != directions:
            raise RunError(f"the study at {url} has directions {found}, the run {directions}")
        self.seconds_used = float(study.user_attrs.get(SECONDS_USED, 0.0))
        self.trials: list[TrialRecord] = []
        self.given_back: list[int] = []
        self._rows: list[int] = []
        self._open: dict[int, FrozenTrial] = {}
        for trial in study.get_trials(deepcopy=False):
            self._take_over(trial)

    def close(self) -> None:
        """Let go of the database."""
        self._storage.engine.dispose()

    @property
    def next_number(self) -> int:
        """The number of the trial that `ask` returns next: the first one that waits, or a new one."""
        waiting = (t.number for t in self.trials if t.outcome == "waiting")
        return next(waiting, len(self.trials))

    def ask(self, sampler: BaseSampler, fixed: Mapping[str, Any] | None = None) -> optuna.Trial:
        """Return the next trial, drawn with `sampler`; a new one takes the parameters `fixed` where they are given."""
        self._memory.sampler = sampler
        if fixed is not None:
            self._memory.enqueue_trial(dict(fixed))
        return self._memory.ask()

    def enqueue(self, params: Mapping[str, Any], start_from: str) -> None:
        """Let the architecture with these parameters come next, after what waits already."""
        number = len(self.trials)
        self._memory.enqueue_trial(dict(params))
        self._write(number, "waiting", {"start_from": start_from})

    def begin(self, trial: optuna.Trial, facts: Mapping[str, Any]) -> TrialRecord:
        """Write a trial that is about to be trained."""
        return self._write(trial.number, "running", facts)

    def finish(
        self,
        number: int,
        outcome: Outcome,
        facts: Mapping[str, Any],
        values: Sequence[float] | None = None,
    ) -> TrialRecord:
        """Write how a trial has ended, whether it had begun or needed no training.

        A duplicate of a network that is still in training has no values, and the sampler does not see it.
        """
        told = None if values is None else list(values)
        kept: Outcome = "failed" if outcome == "duplicate" and values is None else outcome
        self._memory.tell(number, told, state=STATES[kept])
        return self._write(number, kept, facts)

    def give_back(self, number: int) -> TrialRecord:
        """Let a trial that had begun wait to be asked again, by the next driver, with its number and parameters."""
        return self._write(number, "waiting", {})

    def spend(self, seconds: float) -> None:
        """Write how much of its time the run has used so far, in all."""
        self.seconds_used = seconds
        self._storage.set_study_user_attr(self._id, SECONDS_USED, seconds)

    def _take_over(self, trial: FrozenTrial) -> None:
        """Copy a trial of the database into memory; one that a dead driver left RUNNING waits again."""
        row = trial._trial_id  # noqa: SLF001 - the key in the tables
        state = trial.state
        if state == TrialState.RUNNING:
            state = TrialState.WAITING
            self._storage.set_trial_state_values(row, state)
            self.given_back.append(trial.number)
        copied = _copy(trial, state)
        self._memory.add_trial(_copy(trial, state, facts={}))
        self._rows.append(row)
        self.trials.append(trial_record(copied, self.objectives))
        if not state.is_finished():
            self._open[trial.number] = _copy(trial, state, notes=True)

    def _write(self, number: int, outcome: Outcome, facts: Mapping[str, Any]) -> TrialRecord:
        """Write a trial as it stands in memory, with what is known of it."""
        before = self._open.pop(number, None)
        known = {**(before.user_attrs if before else {}), **facts}
        state = STATES[outcome]
        trial = _copy(self._memory.get_trials(deepcopy=False)[number], state, facts=known)
        row = write_trial(
            self._storage, self._id, trial, self._rows[number] if before else None, before
        )
        record = trial_record(trial, self.objectives)
        if before is None:
            self._rows.append(row)
            self.trials.append(record)
        self.trials[number] = record
        if not state.is_finished():
            self._open[number] = trial
        return record


def _copy(
    trial: FrozenTrial,
    state: TrialState,
    *,
    facts: Mapping[str, Any] | None = None,
    notes: bool = False,
) -> FrozenTrial:
    """Return a trial in another state and with other attributes; TPE's `notes` on trials that run are left out."""
    system = {k: v for k, v in trial.system_attrs.items() if notes or not k.startswith("tpe:")}
    return FrozenTrial(
        number=trial.number,
        trial_id=trial.number,
        state=state,
        value=None,
        values=trial.values,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=dict(trial.user_attrs if facts is None else facts),
        system_attrs=system,
        intermediate_values={},
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's notes on studies made and on experimental parts off the terminal."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
