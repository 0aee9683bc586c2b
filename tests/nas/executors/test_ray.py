"""The Ray executor on a Ray of its own: the contract of all executors, lost actors, errors, nothing left behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.errors import NasError, RunError
from nas.executors import Note, Pool, make
from nas.executors.worker import cpus
from tests.nas.executors.contract import Contract, finish, first_epoch, job, run
from tests.nas.executors.ray_cluster import alive, processes_of, wait_for

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.full

DRIVER = Path(__file__).with_name("ray_driver.py")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home in which Ray must not leave anything."""
    folder = tmp_path_factory.mktemp("home")
    before = os.environ.get("HOME")
    os.environ["HOME"] = str(folder)
    yield folder
    os.environ["HOME"] = before or "/"


@pytest.fixture(scope="module")
def warm(home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    before = Path.cwd()
    os.chdir(folder)  # the cache of these jobs is a relative path
    executor = make(Pool(executor="ray", workers=1))
    yield executor
    executor.close()
    os.chdir(before)


class TestRay(Contract):
    """The executor on one node."""


def test_a_killed_actor_is_a_result_that_names_the_node(warm):
    run(warm, "well")
    warm.submit(job("wait", number=5))
    first_epoch(warm)
    (place,) = warm.places
    os.kill(place.pid, signal.SIGKILL)
    result = finish(warm)[1]
    assert (result.number, result.state) == (5, "died")
    assert result.error["text"] == (
        f"the worker on node {place} is lost: its process was killed, or crashed"
    )
    assert result.epochs == ({"epoch": 1, "loss": 1.5},)
    assert run(warm, "well").state == "complete"
    assert warm.places[0].pid != place.pid


def test_a_frozen_actor_is_given_up(warm, monkeypatch):
    monkeypatch.setattr("nas.executors.ray_remote.SILENCE_S", 8.0)
    monkeypatch.setattr("nas.executors.ray_orders.SILENCE_S", 8.0)
    run(warm, "well")
    warm.submit(job("wait", number=6))
    first_epoch(warm)
    (place,) = warm.places
    worker = processes_of(place.pid)[1]
    os.kill(place.pid, signal.SIGSTOP)
    result = finish(warm)[1]
    assert (result.number, result.state) == (6, "died")
    assert "is lost: it has said nothing for 8 s" in result.error["text"]
    wait_for(lambda: not alive(worker), "the frozen actor's trial goes on")
    assert run(warm, "well").state == "complete"


def test_a_job_waits_while_no_worker_is_free_and_can_be_stopped_there(warm):
    run(warm, "well")
    warm.submit(job("wait", number=1))
    with pytest.raises(NasError, match="out already: trial 1; the cluster takes 1 at a time"):
        warm.submit(job("well", number=2))
    warm.stop_current()
    assert finish(warm)[1].state == "stopped"


def test_what_a_trial_takes_and_no_node_has_is_an_error(warm):
    with pytest.raises(RunError, match=r"takes 1 CPU and 1 GPU: .* CPUs?; ask for less"):
        make(Pool(executor="ray", gpus_per_trial=1))
    with pytest.raises(RunError, match="no node can run a trial that takes 4096 CPUs: "):
        make(Pool(executor="ray", cpus_per_trial=4096))
    assert run(warm, "well").state == "complete"


def test_a_node_without_the_drivers_data_is_an_error_that_names_both(warm, monkeypatch):
    monkeypatch.setattr("nas.executors.ray_orders._digest", lambda data: "another")
    warm.submit(job("well", data="street:images=9,size=32x64"))
    with pytest.raises(
        RunError, match=r"node .* cannot run the trials: DataError: street:images=9"
    ):
        finish(warm)
    warm.stop_current()
    assert finish(warm)[1].state == "stopped"


def test_another_torch_on_a_node_is_an_error(warm, monkeypatch):
    monkeypatch.setattr("nas.executors.ray_orders.versions", lambda: {"torch": "1.0"})
    warm.submit(job("well", data="street:images=10,size=32x64"))
    with pytest.raises(RunError, match=r"node .*: RunError: it has torch .*, the driver 1\.0"):
        finish(warm)
    warm.stop_current()
    assert finish(warm)[1].state == "stopped"


def start_driver(home, how):
    """Start a driver with a Ray of its own; return it with the processes that it started."""
    driver = subprocess.Popen(
        [sys.executable, DRIVER, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if driver.stdout.readline() != "epoch\n":
        raise AssertionError(driver.communicate()[1])
    return driver, [pid for pid in processes_of(driver.pid)[1:] if not is_agent(pid)]


def is_agent(pid):
    """Return whether it is one of Ray's two agents, which try for a minute to tell a dead driver that it is dead."""
    return b"Agent" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGKILL, os.kill), (signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)],
)
def test_nothing_is_left_of_a_ray_whose_driver_is_gone(home, number, send):
    driver, processes = start_driver(home, "wait")
    assert len(processes) > 3
    send(driver.pid, number)
    out, err = driver.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert (out, err) == ("stopped\n", "")
    wait_for(lambda: not any(map(alive, processes)), "processes are left of the driver's Ray")
    assert not list(home.iterdir())


def test_a_person_is_told_that_nothing_can_run(warm, monkeypatch):
    monkeypatch.setattr("nas.executors.ray.WAITING_S", 2.0)
    run(warm, "well")
    all_of_them = cpus()
    executor = make(Pool(executor="ray", cpus_per_trial=all_of_them))
    try:
        executor.submit(job("well"))
        said, end = [], time.monotonic() + 30
        while not any("no worker" in text for text in said) and time.monotonic() < end:
            said += [e.text for e in executor.poll(0.2) if isinstance(e, Note)]
        assert f"s: a trial takes {all_of_them} CPU" in said[-1]
        assert f"the cluster has 1 node with {all_of_them} CPU" in said[-1]
        assert re.search(r" and \d+ CPUs? free$", said[-1])  # Ray's own count, a little late
        assert executor.capacity == 0
    finally:
        executor.close()
    assert run(warm, "well").state == "complete"
