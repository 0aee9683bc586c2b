"""Real processes, killed many times at random moments: nothing is lost, counted twice or left behind."""

import json
import random
import time
from collections import Counter

import pytest

from nas.architecture import Architecture
from nas.evaluators.table import read_table
from nas.run import Run
from tests.nas.executors.ray_cluster import Cluster
from tests.nas.search.killing import OPEN, Search
from tests.nas.search.killing_nodes import OnCluster
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
    assert all(t.reason.startswith("failed: WorkerDied: ") for t in failed)
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


def hammered(search, kills):
    """Kill parts of a search so many times, let it come to its end, and see that nothing of it goes on."""
    kill_at_random(search, random.Random(kills), kills)
    search.finish()
    search.expect_no_processes()
    done = f"{search.driver_kills} drivers and {search.worker_kills} workers killed"
    print(f"{done}, {search.starts} starts, {search.trials} trials")


def asked_of(table, storage=None):
    """Return what each of the searches is asked."""
    asked = {"space": f"table:{table},seconds={SECONDS}", "strategy": "random"}
    return asked | ({"storage": storage} if storage else {})


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
    search = Search(tmp_path / "run", asked_of(table, storage) | PROCESSES, 2 * kills)
    hammered(search, kills)
    check_log(search, check(search, table))


@pytest.fixture
def cluster(monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    cluster = Cluster()
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    yield cluster
    cluster.close()


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "postgresql"], indirect=True)
def test_kills_of_workers_nodes_and_drivers_on_a_cluster_do_neither(
    tmp_path, table, storage, cluster
):
    search = OnCluster(tmp_path / "run", asked_of(table, storage), 60, cluster=cluster)
    hammered(search, kills=25)
    print(f"{search.node_kills} nodes killed")
    check_log(search, check(search, table))
