"""Real processes, killed many times at random moments: nothing is lost, counted twice or left behind."""

import json
import random
import time
from collections import Counter

import pytest

from nas.architecture import Architecture
from nas.evaluators.table import read_table
from nas.run import Run
from tests.nas.search.killing import OPEN, Search
from tests.nas.storage import postgres
from tests.nas.tables import write_table

OPTIONS = (5, 5, 5, 5, 5)
SECONDS = 0.1
"""Seconds of a trial."""
PROCESSES = {"executor": "processes", "workers": 4, "retries": 2}


@pytest.fixture
def table(tmp_path):
    return write_table(tmp_path / "table.npz", OPTIONS)


@pytest.fixture
def storage(request):
    """The URL of the study's database; None is a file of the run's own."""
    if request.param == "sqlite":
        yield None
        return
    with postgres.server() as server:
        yield server.url


def kill_at_random(search, rng, kills, drivers=0.25):
    """Kill workers, and the driver in a share `drivers` of the times: as it starts, and during trials."""
    done = 0
    while done < kills:
        search.go_on()
        if rng.random() < 0.2:
            search.wait_for_a_line()
        else:
            search.wait(rng.choice([1, 1, 2, 4, 8]))
        time.sleep(rng.choice([0.0, rng.uniform(0, SECONDS), rng.uniform(0, 1.0)]))
        done += search.kill_driver() if rng.random() < drivers else search.kill_worker(rng)


def check(search, table):
    """What must hold of any search, however often it was killed."""
    run = Run.open(search.folder)
    trials = run.trials()
    assert [t.number for t in trials] == list(range(len(trials)))
    assert not OPEN & {t.outcome for t in trials}
    assert sum(t.counts for t in trials) == search.trials
    trained = Counter(t.digest for t in trials if t.counts)
    assert max(trained.values()) == 1
    scores = read_table(table)
    for trial in trials:
        if trial.outcome == "complete":
            assert trial.values["miou"] == scores.score(Architecture(trial.architecture))
    failed = [t for t in trials if t.outcome == "failed" and t.duplicate_of is None]
    assert all("(SIGKILL)" in t.reason for t in failed)
    assert not list((search.folder / "trials").glob("*"))
    return trials


def check_log(search, trials):
    """The log says of each trial once at most how it ended; a driver may be killed before it says so."""
    lines = (search.folder / "log.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines if line.endswith("}")]
    ends = Counter(e["trial"] for e in events if e["event"] in {"complete", "failed"})
    assert max(ends.values()) == 1
    assert ends.keys() <= {t.number for t in trials}
    deaths = [e for e in events if e["event"] == "worker died"]
    assert len(deaths) <= search.worker_kills
    assert len([e for e in events if e["event"] == "started"]) <= search.starts


def hammered(folder, table, storage, kills, **asked):
    """Return a search that was killed so many times and then came to its end."""
    asked = {"space": f"table:{table},seconds={SECONDS}", "strategy": "random", **asked}
    search = Search(folder, asked | ({"storage": storage} if storage else {}), trials=2 * kills)
    kill_at_random(search, random.Random(kills), kills)
    search.finish()
    search.expect_no_processes()
    kills = f"{search.driver_kills} drivers and {search.worker_kills} workers killed"
    print(f"{kills}, {search.starts} starts, {search.trials} trials")
    return search


@pytest.mark.parametrize(
    ("storage", "kills"),
    [
        pytest.param("sqlite", 8, marks=pytest.mark.full),
        pytest.param("sqlite", 100, marks=pytest.mark.slow),
        pytest.param("postgresql", 30, marks=pytest.mark.slow),
    ],
    indirect=["storage"],
)
def test_kills_at_random_moments_lose_and_double_nothing(tmp_path, table, storage, kills):
    search = hammered(tmp_path / "run", table, storage, kills, **PROCESSES)
    check_log(search, check(search, table))
