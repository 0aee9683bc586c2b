"""The warm worker, with real processes: whatever happens to a job is a result, and the next job runs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.executors import Epoch, Pool, bench, make
from nas.executors.local import LocalExecutor
from tests.nas.executors.contract import PLUGIN, Contract, finish, job, run

DRIVER = Path(__file__).with_name("driver.py")


@pytest.fixture(scope="module")
def warm():
    executor = make(Pool())
    yield executor
    executor.close()


class TestLocal(Contract):
    """The executor of one process."""


def test_its_worker_is_another_process(warm):
    assert [run(warm, "well").metrics["pid"]] == warm.pids != [os.getpid()]


def test_a_job_that_does_not_stop_loses_its_worker(monkeypatch):
    monkeypatch.setattr(bench, "GRACE_S", 0.2)
    executor = LocalExecutor()
    executor.submit(job("hang", number=5))
    assert [type(e) for e in executor.poll(10)] == [Epoch]
    executor.stop_current()
    result = finish(executor)[1]
    assert (result.number, result.state) == (5, "stopped")
    assert run(executor, "well").state == "complete"
    executor.close()


def test_one_job_at_a_time():
    executor = LocalExecutor()
    executor.submit(job("wait", number=1))
    with pytest.raises(NasError, match="out already: trial 1; this executor takes 1 at a time"):
        executor.submit(job("well", number=2))
    executor.close()
    executor.close()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid, seconds=10.0):
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def start_driver(how):
    """Start a driver in a process group of its own; return it with its worker's process id."""
    driver = subprocess.Popen(
        [sys.executable, DRIVER, PLUGIN, how],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return driver, int(driver.stdout.readline())


@pytest.mark.parametrize("how", ["wait", "hang"])
def test_the_worker_dies_with_its_driver(how):
    driver, worker = start_driver(how)
    assert alive(worker)
    driver.kill()
    assert gone(worker)
    driver.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_is_the_drivers_business(number):
    driver, worker = start_driver("wait")
    os.killpg(driver.pid, number)
    assert driver.communicate(timeout=20)[0] == "stopped\ncomplete True\n"
    assert gone(worker)
