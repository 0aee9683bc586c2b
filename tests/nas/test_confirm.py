"""The best of a front trained again: which jobs run, what is kept, what goes on after a failure."""

import json
import shutil

import pytest

from nas.confirm import confirm
from nas.errors import RunError
from nas.evaluators import evaluator
from nas.executors.in_process import InProcessExecutor
from nas.front import front
from nas.pool import Pool
from nas.run import Run
from tests.nas.search.several import Several
from tests.nas.test_front import SCORED, architecture, asked, make_run

BASES = {0: 0.5, 1: 0.7, 2: 0.72}
JOBS = []


@evaluator("noisy")
class Noisy:
    """The score follows from architecture and seed; the seeds in `broken` fail."""

    broken = 0

    def evaluate(self, closed, job, stop):
        JOBS.append(job)
        if len(JOBS) == Noisy.broken:
            raise ValueError("planted")
        yield {"miou": BASES[json.loads(closed.text)["number"]] + job.seed % 7 / 100}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("made") / "r", SCORED, limit=1000)
    return run.change(evaluator="noisy", pool=Pool(executor="in_process")).folder


@pytest.fixture
def run(tmp_path, monkeypatch, made):
    JOBS.clear()
    monkeypatch.setattr(Noisy, "broken", 0)
    return Run.open(shutil.copytree(made, tmp_path / "r"))


def test_the_best_are_trained_with_two_more_seeds(run):
    said = []
    found = confirm(run, 2, say=said.append)
    ids = [architecture(2).id, architecture(1).id]
    assert list(found) == ids
    assert [found[i].scores[0] for i in ids] == [0.72, 0.7]
    assert [json.loads(job.architecture)["number"] for job in JOBS] == [2, 2, 1, 1]
    assert len({job.seed for job in JOBS}) == 4
    assert len(said) == 4
    for name, number in zip(ids, (2, 1), strict=True):
        seeds = [job.seed for job in JOBS if json.loads(job.architecture)["number"] == number]
        assert found[name].scores[1:] == tuple(BASES[number] + seed % 7 / 100 for seed in seeds)


def test_several_at_once_give_the_same(run):
    one = confirm(run, 2)
    (run.folder / "confirm.json").unlink()
    assert confirm(run, 2, executor=Several()) == one


def test_jobs_are_those_of_the_search(run):
    confirm(run.folder, 1)
    job = JOBS[0]
    assert (job.data, job.size, job.recipe) == ("street", (64, 128), asked().recipe)
    assert (job.seconds_left, job.split, job.cache) == (None, None, run.folder / "cache")


def test_what_is_there_is_not_trained_again(run):
    first = confirm(run, 1)
    more = confirm(run, 3)
    assert len(JOBS) == 6
    assert more[architecture(2).id].scores == first[architecture(2).id].scores
    assert [row.confirmed is not None for row in front(run).rows] == [True, True, True]


def test_a_failure_keeps_what_is_there_and_can_be_gone_on_from(run):
    Noisy.broken = 3
    with pytest.raises(RunError, match="ValueError: planted"):
        confirm(run, 2)
    assert len(confirm(run, 2)) == 2
    assert len(JOBS) == 5


def test_it_is_refused_while_a_search_runs(run):
    with run.lock(), pytest.raises(RunError, match="being searched"):
        confirm(run, 1)


def test_an_empty_front_has_nothing_to_confirm(tmp_path):
    with pytest.raises(RunError, match="no trained network yet"):
        confirm(make_run(tmp_path / "r", []), 1, executor=InProcessExecutor())
