"""Writes a whole trial to Optuna's tables in one transaction.

Optuna's own calls write parameter by parameter, each with three queries: 20 to 40 ms for a trial of 40 decisions.
The tables are Optuna's, through its own models; a test compares what is written with what Optuna writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import BindParameter, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

TRIALS: Any = models.TrialModel.__table__
PARTS: tuple[Any, ...] = tuple(
    model.__table__
    for model in (
        models.TrialValueModel,
        models.TrialParamModel,
        models.TrialUserAttributeModel,
        models.TrialSystemAttributeModel,
    )
)
"""Plain tables: what SQLAlchemy does for objects costs several times as much as writing the rows."""
KEY: BindParameter[int] = bindparam("key_of_trial")
NEW_TRIAL, OLD_TRIAL = insert(TRIALS), update(TRIALS).where(TRIALS.c.trial_id == KEY)
NEW = {table: insert(table) for table in PARTS}
GONE = {table: delete(table).where(table.c.trial_id == KEY) for table in PARTS}


def write_trial(
    session: Session,
    study_id: int,
    trial: FrozenTrial,
    *,
    row: int | None = None,
    before: FrozenTrial | None = None,
    again: bool = False,
) -> int:
    """Write `trial` as a new row, or over `row`, which holds `before`; return the row: the key in Optuna's tables.

    A new one gets the trial's own number: only for the one writer of a study, who counts them. `again` says that this
    may have been written already: what is there is looked for, and written over.
    """
    if again and row is None:
        row = _row_of(session, study_id, trial.number)
    connection = session.connection()
    head = {
        "number": trial.number,
        "state": trial.state,
        "datetime_start": _utc(trial.datetime_start),
        "datetime_complete": _utc(trial.datetime_complete),
    }
    if row is None:
        new = connection.execute(NEW_TRIAL, {"study_id": study_id, **head})
        assert new.inserted_primary_key is not None  # of one row there is always one
        row = int(new.inserted_primary_key[0])
    else:
        connection.execute(OLD_TRIAL, {KEY.key: row, **head})
    old = list(_entries(before)) if before else [[] for _ in PARTS]
    for table, entries, was in zip(PARTS, _entries(trial), old, strict=True):
        fresh = [entry for entry in entries if entry not in was]
        if again or len(entries) - len(fresh) < len(was):
            connection.execute(GONE[table], {KEY.key: row})
            fresh = entries
        if fresh:
            connection.execute(NEW[table], [{"trial_id": row, **entry} for entry in fresh])
    return row


def write_attributes(session: Session, study_id: int, attributes: Mapping[str, Any]) -> None:
    """Write attributes of a study, over those of the same names."""
    model = models.StudyUserAttributeModel
    for key, value in attributes.items():
        change = update(model).where(model.study_id == study_id, model.key == key)
        text = json.dumps(value)
        if session.connection().execute(change.values(value_json=text)).rowcount == 0:
            session.execute(insert(model), [{"study_id": study_id, "key": key, "value_json": text}])


def give_back_running(session: Session, study_id: int) -> None:
    """Let all trials that are RUNNING wait again."""
    model = models.TrialModel
    orphans = update(model).where(model.study_id == study_id, model.state == TrialState.RUNNING)
    session.execute(orphans.values(state=TrialState.WAITING))


def _row_of(session: Session, study_id: int, number: int) -> int | None:
    model = models.TrialModel
    query = select(model.trial_id).where(model.study_id == study_id, model.number == number)
    return session.execute(query).scalar_one_or_none()


def _utc(local: datetime | None) -> datetime | None:
    """Return what the tables hold of a time: Optuna keeps UTC, and gives local time, neither with its zone."""
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)


def _entries(trial: FrozenTrial) -> Iterator[list[dict[str, Any]]]:
    """Yield the entries of each table of `PARTS`."""
    yield [_value(i, value) for i, value in enumerate(trial.values or ())]
    yield [_param(name, trial) for name in trial.params]
    yield _attributes(trial.user_attrs)
    yield _attributes(trial.system_attrs)


def _value(objective: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"objective": objective, "value": stored, "value_type": kind}


def _param(name: str, trial: FrozenTrial) -> dict[str, Any]:
    distribution = trial.distributions[name]
    value = distribution.to_internal_repr(trial.params[name])
    return {
        "param_name": name,
        "param_value": value,
        "distribution_json": distribution_to_json(distribution),
    }


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
