"""What every executor does with a job, whatever happens to it; a test class of an executor inherits it."""

import time
from pathlib import Path

import pytest

from nas.executors import Epoch, Job, Result

PLUGIN = Path(__file__).with_name("misbehaving.py")


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


def finish(executor, seconds=60.0):
    """Return (epochs, result) of the job that is out."""
    epochs, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        for event in executor.poll(0.2):
            if isinstance(event, Result):
                return epochs, event
            epochs += [event] if isinstance(event, Epoch) else []
    raise AssertionError(f"no result within {seconds} s")


def first_epoch(executor, seconds=60.0):
    """Wait for the first epoch of any job, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for event in executor.poll(0.2):
            assert not isinstance(event, Result), event
            if isinstance(event, Epoch):
                return event
    raise AssertionError(f"no epoch within {seconds} s")


def run(executor, how, number=0, **fields):
    executor.submit(job(how, number, **fields))
    return finish(executor)[1]


class Contract:
    """Tests of the executor that the fixture `warm` gives, which runs one job at a time."""

    def test_a_job_gives_its_epochs_and_its_metrics(self, warm):
        warm.submit(job("well", number=7))
        epochs, result = finish(warm)
        assert epochs == [Epoch(7, {"epoch": 1, "loss": 1.5}), Epoch(7, dict(result.metrics))]
        assert (result.number, result.state, result.error) == (7, "complete", None)
        assert result.metrics["miou"] == 0.25
        assert result.epochs == ({"epoch": 1, "loss": 1.5},)

    def test_the_worker_stays_warm(self, warm):
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
    def test_an_exception_is_a_failed_result_and_the_worker_lives_on(self, warm, how, kind, text):
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
    def test_a_dead_worker_is_a_result_and_the_next_job_gets_a_new_one(self, warm, how, text):
        before = run(warm, "well").metrics["pid"]
        result = run(warm, how, number=4)
        assert (result.number, result.state, result.metrics) == (4, "died", {})
        assert text in result.error["text"]
        assert result.epochs == ({"epoch": 1, "loss": 1.5},)
        after = run(warm, "well")
        assert after.state == "complete"
        assert after.metrics["pid"] != before

    def test_a_native_crash_leaves_its_stack_in_the_record(self, warm):
        trace = run(warm, "segfault").error["traceback"]
        assert "Segmentation fault" in trace
        assert "misbehaving.py" in trace

    def test_what_a_job_prints_or_reads_does_not_disturb(self, warm):
        assert run(warm, "print").state == "complete"
        assert run(warm, "read").state == "complete"

    def test_a_deadline_stops_the_job_at_its_next_step(self, warm):
        run(warm, "well")
        result = run(warm, "wait", seconds_left=0.3)
        assert (result.state, result.error) == ("stopped", None)
        assert result.epochs == ({"epoch": 1, "loss": 1.5},)
        assert 0.3 <= result.seconds < 5
        assert run(warm, "well", seconds_left=60.0).state == "complete"

    def test_stop_current_stops_the_job_at_its_next_step(self, warm):
        warm.submit(job("wait"))
        first_epoch(warm)
        warm.stop_current()
        assert finish(warm)[1].state == "stopped"
        warm.stop_current()
        assert run(warm, "well").state == "complete"

    def test_a_missing_plugin_and_an_unknown_evaluator_are_failures_of_the_job(self, warm):
        warm.submit(Job(number=0, architecture="{}", seed=0, plugins=("nowhere.py",)))
        assert "nowhere.py (expected a Python file" in finish(warm)[1].error["text"]
        warm.submit(Job(number=0, architecture="{}", seed=0, evaluator="short_trainin"))
        assert "did you mean 'short_training'?" in finish(warm)[1].error["text"]
