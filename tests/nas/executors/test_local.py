"""The warm worker, with real processes: whatever happens to a job is a result, and the next job runs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.executors import Epoch, Job, Pool, Result, bench, make
from nas.executors.local import LocalExecutor

PLUGIN = Path(__file__).with_name("misbehaving.py")
DRIVER = Path(__file__).with_name("driver.py")


def job(how, number=0, **fields):
    return Job(
        number=number,
        architecture="{}",
        seed=0,
        evaluator="misbehaving",
        recipe={"how": how},
        plugins=(str(PLUGIN),),
        **fields,
    )


def finish(executor, seconds=20.0):
    """Return (epochs, result) of the job that is out."""
    epochs, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        for event in executor.poll(0.2):
            if isinstance(event, Result):
                return epochs, event
            epochs.append(event)
    raise AssertionError(f"no result within {seconds} s")


def run(executor, how, number=0, **fields):
    executor.submit(job(how, number, **fields))
    return finish(executor)[1]


@pytest.fixture(scope="module")
def warm():
    executor = make(Pool())
    yield executor
    executor.close()


def test_a_job_gives_its_epochs_and_its_metrics(warm):
    warm.submit(job("well", number=7))
    epochs, result = finish(warm)
    assert epochs == [Epoch(7, {"epoch": 1, "loss": 1.5}), Epoch(7, dict(result.metrics))]
    assert (result.number, result.state, result.error) == (7, "complete", None)
    assert result.metrics["miou"] == 0.25
    assert result.epochs == ({"epoch": 1, "loss": 1.5},)
    assert [result.metrics["pid"]] == warm.pids != [os.getpid()]


def test_the_worker_stays_warm(warm):
    first, second = run(warm, "well"), run(warm, "well")
    assert first.metrics["pid"] == second.metrics["pid"]
    assert second.metrics["jobs"] == first.metrics["jobs"] + 1


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("raise", "ZeroDivisionError", "division by zero"),
        ("nan", "TrainingError", "metrics are not finite: {'miou': nan}"),
        ("memory", "MemoryError", "out of memory"),
        ("nothing", "TrainingError", "the evaluator 'misbehaving' ended without a metric"),
    ],
)
def test_an_exception_is_a_failed_result_and_the_worker_lives_on(warm, how, kind, text):
    pid = run(warm, "well").metrics["pid"]
    result = run(warm, how, number=3)
    assert (result.number, result.state, result.metrics) == (3, "failed", {})
    assert (result.error["type"], result.error["text"]) == (kind, text)
    assert kind in result.error["traceback"]
    assert run(warm, "well").metrics["pid"] == pid


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("kill", "SIGKILL"),
        ("segfault", "crashed in native code (SIGSEGV)"),
        ("exit", "exit code 3"),
    ],
)
def test_a_dead_worker_is_a_result_and_the_next_job_gets_a_new_one(warm, how, text):
    before = run(warm, "well").metrics["pid"]
    result = run(warm, how, number=4)
    assert (result.number, result.state, result.metrics) == (4, "died", {})
    assert text in result.error["text"]
    assert result.epochs == ({"epoch": 1, "loss": 1.5},)
    after = run(warm, "well")
    assert after.state == "complete"
    assert after.metrics["pid"] != before


def test_a_native_crash_leaves_its_stack_in_the_record(warm):
    trace = run(warm, "segfault").error["traceback"]
    assert "Segmentation fault" in trace
    assert "misbehaving.py" in trace


def test_what_a_job_prints_or_reads_does_not_disturb(warm):
    assert run(warm, "print").state == "complete"
    assert run(warm, "read").state == "complete"


def test_a_deadline_stops_the_job_at_its_next_step(warm):
    result = run(warm, "wait", seconds_left=0.3)
    assert (result.state, result.error) == ("stopped", None)
    assert result.epochs == ({"epoch": 1, "loss": 1.5},)
    assert 0.3 <= result.seconds < 5
    assert run(warm, "well", seconds_left=60.0).state == "complete"


def test_stop_current_stops_the_job_at_its_next_step(warm):
    warm.submit(job("wait"))
    assert [type(e) for e in warm.poll(10)] == [Epoch]
    warm.stop_current()
    assert finish(warm)[1].state == "stopped"
    warm.stop_current()
    assert run(warm, "well").state == "complete"


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


def test_a_missing_plugin_and_an_unknown_evaluator_are_failures_of_the_job(warm):
    missing = Job(number=0, architecture="{}", seed=0, plugins=("nowhere.py",))
    warm.submit(missing)
    assert "nowhere.py (expected a Python file" in finish(warm)[1].error["text"]
    warm.submit(Job(number=0, architecture="{}", seed=0, evaluator="short_trainin"))
    assert "did you mean 'short_training'?" in finish(warm)[1].error["text"]


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
