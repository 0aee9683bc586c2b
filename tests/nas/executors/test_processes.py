"""Several workers at once, with real processes: each with its job, its threads and its end."""

import os
import signal
import time
from pathlib import Path

import pytest

from nas.errors import NasError, RunError
from nas.executors import Epoch, Job, Pool, Result, bench, local, make
from nas.gpus import share_of

PLUGIN = Path(__file__).with_name("misbehaving.py")


def job(how, number, **fields):
    recipe = {"how": how}
    return Job(
        number=number,
        architecture="{}",
        seed=0,
        evaluator="misbehaving",
        recipe=recipe,
        plugins=(str(PLUGIN),),
        **fields,
    )


def results(executor, count, seconds=60.0):
    """Return so many results by the number of their jobs."""
    found, end = {}, time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        found |= {e.number: e for e in executor.poll(0.2) if isinstance(e, Result)}
    assert len(found) == count
    return found


@pytest.fixture
def three():
    executor = make(Pool(executor="processes", workers=3))
    yield executor
    executor.close()


def begun(executor, count):
    """Wait until so many jobs have given their first epoch."""
    seen, end = set(), time.monotonic() + 60
    while len(seen) < count and time.monotonic() < end:
        seen |= {e.number for e in executor.poll(0.2) if isinstance(e, Epoch)}
    assert len(seen) == count


def test_each_job_has_a_process_of_its_own_and_the_processes_stay(three):
    for number in range(3):
        three.submit(job("wait", number))
    begun(three, 3)
    pids = set(three.pids)
    assert len(pids) == 3
    three.stop_current()
    assert {r.state for r in results(three, 3).values()} == {"stopped"}
    for number in range(3):
        three.submit(job("well", number))
    assert {r.metrics["pid"] for r in results(three, 3).values()} <= pids


def test_a_death_takes_one_job_only(three):
    for number in range(3):
        three.submit(job("wait", number))
    begun(three, 3)
    victim = three.pids[1]
    os.kill(victim, signal.SIGKILL)
    (died,) = results(three, 1).values()
    assert (died.state, "SIGKILL" in died.error["text"]) == ("died", True)
    three.submit(job("well", 7))
    assert results(three, 1)[7].metrics["pid"] != victim
    three.stop_current()
    assert [r.state for r in results(three, 2).values()] == ["stopped"] * 2


def test_no_more_jobs_than_workers(three):
    for number in range(3):
        three.submit(job("wait", number))
    with pytest.raises(NasError, match="out already: trial 0, 1, 2; this executor takes 3"):
        three.submit(job("well", 3))


def test_only_the_worker_that_does_not_stop_is_ended(three, monkeypatch):
    monkeypatch.setattr(bench, "GRACE_S", 1.0)
    three.submit(job("hang", 0))
    three.submit(job("wait", 1))
    begun(three, 2)
    three.stop_current()
    ended = results(three, 2)
    assert {r.state for r in ended.values()} == {"stopped"}
    assert ended[1].seconds <= ended[0].seconds
    three.submit(job("well", 2))
    three.submit(job("well", 3))
    assert {r.state for r in results(three, 2).values()} == {"complete"}


@pytest.mark.parametrize(
    ("asked", "threads"),
    [({"workers": 2, "cpus_per_trial": 3}, "3"), ({"workers": 2}, "2"), ({"workers": 9}, "1")],
)
def test_a_worker_has_the_threads_of_its_share(monkeypatch, asked, threads):
    monkeypatch.setattr(local, "cpus", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    number, environment = local._places(Pool(executor="processes", **asked))
    assert number == asked["workers"]
    assert environment(0)["OMP_NUM_THREADS"] == threads


@pytest.mark.parametrize(
    ("pool", "gpus", "number", "seen"),
    [
        ({"workers": 3, "gpus_per_trial": 1}, "4,7", 3, ["4", "7", "4"]),
        ({"workers": 4, "gpus_per_trial": 0.5}, "4,7", 4, ["4", "4", "7", "7"]),
        ({"workers": 4}, "4,7", 4, ["4", "4", "7", "7"]),
        ({"gpus_per_trial": 2}, "0,1,2,3", 2, ["0,1", "2,3"]),
        ({"gpus_per_trial": 0.5}, "5", 2, ["5", "5"]),
        ({"workers": 2, "gpus_per_trial": 0}, "4,7", 2, [None, None]),
    ],
)
def test_a_worker_sees_the_accelerators_of_its_share(monkeypatch, pool, gpus, number, seen):
    monkeypatch.setattr(local, "visible", lambda: gpus.split(","))
    monkeypatch.setattr(local, "cpus", lambda: 16)
    found, environment = local._places(Pool(executor="processes", **pool))
    assert found == number
    assert [environment(i).get("CUDA_VISIBLE_DEVICES") for i in range(number)] == seen


def test_a_third_of_an_accelerator_is_shared_by_three():
    assert [share_of(["0", "1"], i, 1 / 3) for i in range(6)] == [["0"]] * 3 + [["1"]] * 3


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"executor": "local", "workers": 2}, "workers means nothing to the executor 'local'"),
        ({"executor": "processes", "address": "auto"}, "choose --executor ray"),
        ({"workers": 0}, "from 1, got 0"),
        ({"gpus_per_trial": 1.5}, "a fraction of one (0.5) or a whole number, got 1.5"),
        ({"executor": "ray", "cpus_per_trial": 0}, "more than 0"),
        ({"retries": -1}, "from 0, got -1"),
        ({"worker": 2}, "did you mean 'workers'?"),
    ],
)
def test_what_makes_no_sense_is_refused(said, text):
    with pytest.raises(RunError) as error:
        Pool.of(said)
    assert text in str(error.value)


def test_the_executor_follows_from_what_is_said():
    assert Pool.of({}).executor == "local"
    assert Pool.of({"retries": 4}) == Pool(retries=4)
    assert Pool.of({"workers": 4}).executor == "processes"
    assert Pool.of({"workers": 4, "address": "auto"}).executor == "ray"
    assert Pool.of({"workers": 4}).changed({"workers": 2}) == Pool(executor="processes", workers=2)
    assert Pool.of({"workers": 4}).changed({"executor": "local"}) == Pool()
    assert (Pool().tries, Pool(executor="ray").tries, Pool(retries=0).tries) == (2, 4, 1)


def test_a_pool_is_read_back():
    pool = Pool(executor="ray", address="auto", gpus_per_trial=0.5)
    assert Pool.of(pool.to_dict()) == pool
