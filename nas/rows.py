"""Writes a whole trial to Optuna's tables in one transaction.

Optuna's own calls write parameter by parameter, each with three queries: 20 to 40 ms for a trial of 40 decisions.
The tables are Optuna's, through its own models; a test compares what is written with what Optuna writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

PARTS: tuple[Any, ...] = (
    models.TrialValueModel,
    models.TrialParamModel,
    models.TrialUserAttributeModel,
    models.TrialSystemAttributeModel,
)


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
    old = list(_entries(before)) if before else [[] for _ in PARTS]
    if again and row is None:
        row = _row_of(session, study_id, trial.number)
    head: Any = models.TrialModel(study_id=study_id)
    if row is not None:
        head = session.get_one(models.TrialModel, row)
    head.number, head.state = trial.number, trial.state
    head.datetime_start, head.datetime_complete = trial.datetime_start, trial.datetime_complete
    session.add(head)
    session.flush()
    key: int = head.trial_id
    for model, entries, was in zip(PARTS, _entries(trial), old, strict=True):
        if entries == was and not again:
            continue
        if was or again:
            session.execute(delete(model).where(model.trial_id == key))
        if entries:
            session.execute(insert(model), [{"trial_id": key, **entry} for entry in entries])
    return key


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
