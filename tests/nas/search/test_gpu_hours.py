"""Hours of accelerators as a budget: what trials take of them, not what the clock says."""

import pytest

from nas.errors import LimitError, RunError
from nas.problem import Budget
from nas.record import Record


def used(run):
    """Return (seconds, GPU-seconds) as they are on record."""
    record = Record(run.study_url, run.study_name, {"miou": "maximize", "macs": "minimize"})
    record.close()
    return record.seconds_used, record.gpu_seconds_used


def slow(find, **asked):
    known = {"evaluator": "planted_slow", "strategy": "random", "device": "cuda"}
    return find(**known | asked)


def test_half_an_accelerator_takes_half_the_hours(find):
    whole = slow(find, budget="0.0001gpu-hours")
    half = slow(find, folder="half", budget="0.0001gpu-hours", gpus_per_trial=0.5)
    assert (whole.ended, half.ended) == ("budget", "budget")
    for run, share in ((whole, 1.0), (half, 0.5)):
        seconds, gpu_seconds = used(run)
        assert gpu_seconds >= 0.36
        trained = sum(t.seconds for t in run.trials())
        assert gpu_seconds >= share * trained
        assert gpu_seconds <= share * seconds


def test_they_count_on_in_a_resumed_run(find):
    run = slow(find, budget="0.0001gpu-hours")
    before, trials = used(run)[1], run.trials()
    assert find(resume=run.folder).trials() == trials
    more = find(resume=run.folder, budget="0.0005gpu-hours")
    assert more.problem.budget == Budget(gpu_seconds=0.0005 * 3600)
    assert len(more.trials()) > len(trials)
    assert used(more)[1] >= 1.8 > before


def test_hours_that_nothing_uses_are_refused(find):
    with pytest.raises(LimitError, match="the budget counts GPU-hours, but trials run on cpu"):
        find(budget="1gpu-hours")
    with pytest.raises(RunError, match=r"0\.5 GPUs per trial, but trials run on cpu; add --device"):
        find(gpus_per_trial=0.5)
