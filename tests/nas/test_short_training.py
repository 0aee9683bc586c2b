"""Short training and the pre-flight's single steps, end to end on procedural streets."""

import math
from dataclasses import replace

import pytest

from nas import registry
from nas.architecture import Architecture
from nas.errors import NasError
from nas.evaluators import EVALUATORS, evaluator, find
from nas.executors import Job, Pool, Result, make
from nas.job import Stop
from tests.nas.toy import tiny_tree

SIZE = (32, 64)
RECIPE = {"epochs": 2, "batch": 4}


@pytest.fixture(scope="module", autouse=True)
def domain():
    return registry.load()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def job(cache):
    return Job(
        number=0,
        architecture=Architecture.of(tiny_tree(11, SIZE)).text,
        seed=5,
        data="street:images=20,size=32x64",
        size=SIZE,
        recipe=RECIPE,
        cache=cache,
    )


def never():
    return False


def evaluate(name, job, stop=never):
    return list(find(name)().evaluate(Architecture(job.architecture), job, stop))


def test_a_short_training_yields_its_epochs_and_its_score(job):
    first, second, scores = evaluate("short_training", job)
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert first["images"] == 16
    assert math.isfinite(second["loss"])
    assert 0 <= scores["miou"] <= 1
    assert len(scores["iou"]) == 11


def test_the_same_job_gives_the_same_score_and_another_seed_another(job):
    once, again, other = (
        evaluate("short_training", j)[-1]["miou"] for j in (job, job, replace(job, seed=6))
    )
    assert once == again != other


def test_the_score_is_that_of_the_named_split(job):
    held_back, named = (
        evaluate("short_training", j)[-1]["iou"] for j in (job, replace(job, split="val"))
    )
    assert held_back != named


def test_a_killed_training_goes_on_as_if_it_had_not_been(job, tmp_path, monkeypatch):
    monkeypatch.setattr("nas.evaluators.short_training.KEPT_EVERY", 0.0)
    whole = evaluate("short_training", job)
    kept = replace(job, folder=tmp_path)
    steps = iter(range(100))
    cut = evaluate("short_training", kept, lambda: next(steps) >= 5)
    rest = evaluate("short_training", kept)
    assert [row["epoch"] for row in cut] == [1]
    assert [row.get("loss") for row in rest] == [row.get("loss") for row in whole]
    assert rest[-1]["iou"] == whole[-1]["iou"]
    (tmp_path / "trial.pt").write_bytes(b"torn")
    assert evaluate("short_training", kept)[-1]["iou"] == whole[-1]["iou"]


@pytest.mark.parametrize("asked", [0, 3, 8])
def test_stop_ends_it_before_a_step_or_a_scored_batch(job, asked):
    steps = iter(range(100))
    stop = Stop(lambda: next(steps) >= asked)
    rows = evaluate("short_training", job, stop)
    assert stop.told
    assert len(rows) == asked // 4
    assert not any("miou" in row for row in rows)


def test_one_step_says_what_a_trial_takes(job):
    (timed,) = evaluate("one_step", job)
    assert (timed["steps"], timed["score_batches"]) == (4, 1)
    assert min(timed["build_seconds"], timed["step_seconds"], timed["score_seconds"]) > 0
    assert timed["peak_bytes"] > 2**20


def test_evaluators_have_names():
    with pytest.raises(NasError, match="did you mean 'short_training'"):
        find("short_trainings")
    with pytest.raises(NasError, match="registered twice"):
        evaluator("short_training")(object)
    find("one_step")
    assert set(EVALUATORS) >= {"one_step"}


@pytest.mark.full
def test_a_worker_trains_and_fails_and_trains_again(job):
    executor = make(Pool())
    results = []
    for recipe in (RECIPE, {**RECIPE, "batch": 40}, RECIPE):
        executor.submit(replace(job, recipe=recipe))
        while not (ended := [e for e in executor.poll(1) if isinstance(e, Result)]):
            pass
        results += ended
    executor.close()
    assert [r.state for r in results] == ["complete", "failed", "complete"]
    assert "batch" in results[1].error["text"]
    assert results[0].metrics["iou"] == results[2].metrics["iou"]
    assert len(results[0].epochs) == 2
