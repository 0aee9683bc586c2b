import time

import optuna
import pytest
import sqlalchemy

from nas import strategies
from nas.database import open_storage
from nas.errors import RunError
from nas.record import Record, read_seconds, read_trials, trial_record

OBJECTIVES = {"miou": "maximize", "macs": "minimize"}
WIDTHS = [8, 16, 32, 64]


def url(folder):
    return f"sqlite:///{folder}/study.db"


def opened(folder):
    return Record(url(folder), "run", OBJECTIVES)


def draw(trial):
    """A nested space: the cell decides which parameters there are."""
    choose = strategies.chooser(trial)
    width = choose("width", WIDTHS)
    if choose("cell", [{"mbconv": {}}, {"basic": {}}]) == 0:
        return width, choose("cell.mbconv.kernel", [3, 5, 7])
    return width, choose("cell.basic.flag", [True, False])


def trained(record, seed, strategy):
    number = record.next_number
    trial = record.ask(strategies.find(strategy)(seed + number))
    width, other = draw(trial)
    trial.set_constraint("macs", WIDTHS[width] / 32 - 1)
    if WIDTHS[width] > 32:
        return record.finish(
            number, "refused", {"digest": f"{width}/{other}", "macs": WIDTHS[width]}
        )
    record.begin(trial, {"digest": f"{width}/{other}", "macs": WIDTHS[width]})
    return record.finish(
        number, "complete", {"seconds": 0.5}, [width / 4 + other / 40, WIDTHS[width]]
    )


def history(trials):
    return [(t.number, t.outcome, t.digest, dict(t.values)) for t in trials]


@pytest.mark.parametrize("strategy", ["tpe", "nsga2", "random"])
def test_a_reopened_record_goes_on_as_if_never_closed(tmp_path, strategy):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    record = opened(tmp_path / "a")
    whole = [trained(record, 7, strategy) for _ in range(48)]
    parts = []
    for _ in range(3):
        record = opened(tmp_path / "b")
        parts += [trained(record, 7, strategy) for _ in range(16)]
        record.close()
    assert history(parts) == history(whole)
    assert history(read_trials(url(tmp_path / "b"), list(OBJECTIVES))) == history(whole)


def test_a_trial_that_was_only_drawn_leaves_nothing(tmp_path):
    record = opened(tmp_path)
    first = draw(record.ask(strategies.find("tpe")(1)))
    record.close()
    assert read_trials(url(tmp_path), list(OBJECTIVES)) == []
    assert draw(opened(tmp_path).ask(strategies.find("tpe")(1))) == first


@pytest.mark.parametrize("given_back", [True, False])
def test_an_orphan_keeps_number_and_parameters(tmp_path, given_back):
    record = opened(tmp_path)
    trained(record, 0, "tpe")
    trial = record.ask(strategies.find("tpe")(5))
    drawn = draw(trial)
    record.begin(trial, {"digest": "x"})
    if given_back:
        record.give_back(trial.number)
    record.close()
    record = opened(tmp_path)
    assert record.given_back == ([] if given_back else [1])
    assert record.next_number == 1
    again = record.ask(strategies.find("tpe")(99))
    assert (again.number, draw(again)) == (1, drawn)
    record.begin(again, {"digest": "x"})
    record.finish(1, "complete", {}, [0.5, 8])
    assert [t.outcome for t in record.trials] == ["complete", "complete"]


def test_an_enqueued_trial_comes_next_with_its_parameters(tmp_path):
    record = opened(tmp_path)
    record.enqueue({"width": 2, "cell": "basic", "cell.basic.flag": "false"}, "published")
    record.close()
    record = opened(tmp_path)
    trial = record.ask(strategies.find("random")(0))
    assert draw(trial) == (2, 1)
    trial.set_constraint("macs", -0.5)
    record.begin(trial, {"digest": "d"})
    record.finish(0, "complete", {}, [0.5, 8])
    (kept,) = read_trials(url(tmp_path), list(OBJECTIVES))
    assert (kept.start_from, kept.digest, kept.outcome) == ("published", "d", "complete")


@pytest.fixture(params=["UTC", "America/St_Johns"])
def clock(request, monkeypatch):
    """A machine that lives by this clock: Optuna keeps UTC, and gives local time."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("clock")
def test_optuna_sees_an_ordinary_study(tmp_path):
    record = opened(tmp_path)
    for _ in range(12):
        trained(record, 3, "random")
    study = optuna.load_study(study_name="run", storage=url(tmp_path))
    assert study.metric_names == list(OBJECTIVES)
    assert {t.state.name for t in study.trials} == {"COMPLETE", "PRUNED"}
    assert all(t.constraints["macs"] <= 0 for t in study.best_trials)
    assert [trial_record(t, list(OBJECTIVES)) for t in study.trials] == record.trials


@pytest.mark.usefixtures("clock")
def test_what_is_written_is_what_optuna_writes(tmp_path):
    """The same trials, written by us and by `study.add_trial`, are the same rows in every table but their keys."""
    record = opened(tmp_path)
    for _ in range(6):
        trained(record, 3, "nsga2")
    record.finish(record.ask(strategies.find("random")(0)).number, "failed", {"reason": "x"})
    study = optuna.load_study(study_name="run", storage=url(tmp_path))
    other = optuna.create_study(
        study_name="other", storage=url(tmp_path), directions=list(OBJECTIVES.values())
    )
    other.add_trials(study.trials)
    ours, theirs = (study_rows(tmp_path, s._study_id) for s in (study, other))
    assert ours == theirs
    assert ours["trial_params"]


def study_rows(folder, study_id):
    tables = [
        "trials",
        "trial_values",
        "trial_params",
        "trial_user_attributes",
        "trial_system_attributes",
    ]
    with open_storage(url(folder)).engine.connect() as connection:
        return {table: rows_of(connection, table, study_id) for table in tables}


def rows_of(connection, table, study_id):
    """All columns but keys, with the trial's number in front."""
    joined = f"{table} x JOIN trials t ON t.trial_id = x.trial_id"
    query = sqlalchemy.text(f"SELECT t.number, x.* FROM {joined} WHERE t.study_id = {study_id}")
    found = connection.execute(query).mappings()
    return sorted(
        str({k: v for k, v in row.items() if not k.endswith("_id")} | {"": row["number"]})
        for row in found
    )


def test_other_directions_are_refused(tmp_path):
    opened(tmp_path).close()
    with pytest.raises(RunError, match="directions"):
        Record(url(tmp_path), "run", {"miou": "maximize", "macs": "maximize"})


def test_seconds_are_kept(tmp_path):
    assert read_seconds(url(tmp_path)) == 0.0
    record = opened(tmp_path)
    record.spend(12.5)
    record.close()
    assert read_seconds(url(tmp_path)) == 12.5
    assert opened(tmp_path).seconds_used == 12.5


def test_sqlite_writes_ahead_and_does_not_wait_for_the_disk(tmp_path):
    storage = open_storage(url(tmp_path))
    with storage.engine.connect() as connection:
        mode = connection.execute(sqlalchemy.text("PRAGMA journal_mode")).scalar()
        synchronous = connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar()
        timeout = connection.execute(sqlalchemy.text("PRAGMA busy_timeout")).scalar()
    assert (mode, synchronous, timeout) == ("wal", 1, 60_000)


@pytest.mark.parametrize(
    ("outcome", "facts", "counts"),
    [
        ("refused", {"reason": "refused: macs"}, False),
        ("failed", {"reason": "failed: RuntimeError: x"}, True),
        ("failed", {"reason": "duplicate of 0", "duplicate_of": 0}, False),
        ("stopped", {"reason": "stopped at the deadline"}, False),
    ],
)
def test_outcomes_without_values(tmp_path, outcome, facts, counts):
    record = opened(tmp_path)
    trial = record.ask(strategies.find("random")(0))
    draw(trial)
    made = record.finish(0, outcome, facts)
    assert (made.outcome, made.values, made.counts) == (outcome, {}, counts)
    assert read_trials(url(tmp_path), list(OBJECTIVES)) == [made]
