"""The record of a search: an Optuna study in the run's database, and the same study in memory for the sampler.

The driver is the only writer. It draws from the copy in memory, and writes a trial with one transaction once it knows
what becomes of it: a driver that dies while it draws leaves nothing behind, and the next one draws the same.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from nas.database import DRIVER, Database, existing_storage
from nas.errors import RunError
from nas.rows import give_back_running, write_attributes, write_trial
from nas.storage_errors import DatabaseTrouble, explained
from nas.storage_url import shown
from nas.study_lock import ourselves
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
GPU_SECONDS_USED = "gpu_seconds_used"


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


def read_trials(url: str, objectives: Sequence[str], study: str = "") -> list[TrialRecord]:
    """Return the trials of a study in the database at `url`, in order of their numbers; [] where it is not there yet.

    A study without a name is the only one there.
    """
    with _reading(url, study) as (storage, key):
        trials = [] if key is None else storage.get_all_trials(key, deepcopy=False)
        return [trial_record(t, objectives) for t in trials]


def read_seconds(url: str, study: str = "") -> float:
    """Return the seconds of its budget that the search has used, as last written."""
    with _reading(url, study) as (storage, key):
        attributes = {} if key is None else storage.get_study_user_attrs(key)
        return float(attributes.get(SECONDS_USED, 0.0))


def only_study(url: str) -> str:
    """Return the name of the first study in the database at `url`; "" where there is none."""
    with _reading(url, "") as (storage, key):
        return "" if key is None else storage.get_study_name_from_id(key)


@contextlib.contextmanager
def _reading(url: str, study: str) -> Iterator[tuple[Any, int | None]]:
    """Yield the storage, and the key of the study; None where it is not there. Nothing is written or made."""
    storage = existing_storage(url)
    try:
        yield storage, None if storage is None else _key(storage, study)
    except DatabaseTrouble as error:
        raise explained(error, url) from error
    finally:
        if storage is not None:
            storage.engine.dispose()


def _key(storage: RDBStorage, study: str) -> int | None:
    """Return the key of the study called `study`, of the first one for ""; None where it is not there."""
    if not study:
        return next((s._study_id for s in storage.get_all_studies()), None)  # noqa: SLF001
    with contextlib.suppress(KeyError):
        return storage.get_study_id_from_name(study)
    return None


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


class Record:
    """The driver's side of the record: draws trials, writes what becomes of them, gives orphans back.

    Whoever makes one holds the run's lock: a trial found RUNNING belongs to a driver that is dead.
    """

    def __init__(
        self,
        url: str,
        name: str,
        objectives: Mapping[str, str],
        *,
        say: Callable[[str], None] | None = None,
        known: bool = False,
    ) -> None:
        self.objectives = tuple(objectives)
        self._url, self._name = url, name
        self._directions: Any = list(objectives.values())
        self.seconds_used = self.gpu_seconds_used = 0.0
        self._database = Database(url, name, say=say)
        try:
            self._database.patiently(lambda _: self._load(known))
            self._database.write(self._take_over)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Let go of the study, and of the database."""
        self._database.close()

    @property
    def next_number(self) -> int:
        """The number of the trial that `ask` returns next: the first one that waits, or a new one."""
        waiting = (n for n, t in self._open.items() if t.state == TrialState.WAITING)
        return min(waiting, default=len(self.trials))

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

    def spend(self, seconds: float, gpu_seconds: float = 0.0) -> None:
        """Write how much of its time the run has used so far, in all: on the clock, and of accelerators."""
        used = {SECONDS_USED: seconds}
        if gpu_seconds != self.gpu_seconds_used:
            used[GPU_SECONDS_USED] = gpu_seconds
        self._database.write(lambda session, _: write_attributes(session, self._id, used))
        self.seconds_used, self.gpu_seconds_used = seconds, gpu_seconds

    def _load(self, known: bool) -> None:
        """Read the study, or make it; may be done again."""
        study = self._study(known)
        self._id = study._study_id  # noqa: SLF001 - the key in the tables; Optuna has no public way to it
        attributes = study.user_attrs
        self.seconds_used = float(attributes.get(SECONDS_USED, 0.0))
        self.gpu_seconds_used = float(attributes.get(GPU_SECONDS_USED, 0.0))
        self.trials: list[TrialRecord] = []
        self.given_back: list[int] = []
        self._rows: list[int] = []
        self._open: dict[int, FrozenTrial] = {}
        for trial in study.get_trials(deepcopy=False):
            self._adopt(trial)

    def _study(self, known: bool) -> optuna.Study:
        """Return the study; raises RunError where a known one is gone, or where it is another one's."""
        storage = self._database.storage
        if known and _key(storage, self._name) is None:
            raise RunError(
                f"there is no study {self._name} in {shown(self._url)} any more, where this run has kept its trials;"
                " bring that database back, or start a new run (--run)"
            )
        with _quiet():
            study = optuna.create_study(
                study_name=self._name,
                storage=storage,
                directions=self._directions,
                load_if_exists=True,
            )
            found = [d.name.lower() for d in study.directions]
            if found != self._directions:
                where = f"the study at {shown(self._url)}"
                raise RunError(f"{where} has directions {found}, the run {self._directions}")
            study.set_metric_names(list(self.objectives))
            self._memory = optuna.create_study(directions=self._directions)
        return study

    def _take_over(self, session: Session, again: bool) -> None:  # noqa: ARG002 - may be done twice
        """Write that the study is ours, and that what a dead driver left RUNNING waits again."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_attributes(session, self._id, {DRIVER: ourselves(now)})
        give_back_running(session, self._id)

    def _adopt(self, trial: FrozenTrial) -> None:
        """Copy a trial of the database into memory; one that a dead driver left RUNNING waits again."""
        row = trial._trial_id  # noqa: SLF001 - the key in the tables
        state = trial.state
        if state == TrialState.RUNNING:
            state = TrialState.WAITING
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
        held = self._rows[number] if before else None

        def written(session: Session, again: bool) -> int:
            return write_trial(session, self._id, trial, row=held, before=before, again=again)

        row = self._database.write(written)
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
