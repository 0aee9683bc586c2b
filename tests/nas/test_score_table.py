"""Tables that stand for training: each architecture has its row, and a search over them is a search like any other."""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nas
from nas.cost import Counter
from nas.errors import DataError, SpaceError
from nas.evaluators import find, table
from nas.evaluators.table import read_table
from nas.executors import Job, Stop
from nas.resolve import closed
from nas.run import Run
from nas.space import load_space, parse
from tests.nas.tables import write_table

OPTIONS = (3, 2, 1, 3)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "small.npz", OPTIONS)


@pytest.fixture
def lookup(file, tmp_path):
    """A search in the table, in this process."""

    def lookup(space=None, **asked):
        known = {"progress": False}
        if "resume" not in asked:
            known |= {"executor": "in_process", "run": tmp_path / "run", "budget": "10trials"}
            space = space or f"table:{file}"
        return nas.search(space, **known | asked)

    return lookup


@settings(max_examples=20, deadline=None)
@given(options=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_every_architecture_of_the_space_has_the_score_of_its_row(tmp_path_factory, options, seed):
    written = write_table(tmp_path_factory.mktemp("any") / "any.npz", options, seed)
    read = read_table(written)
    space = read.space.with_classes(7).with_input((3, 64, 96))
    with np.load(written) as columns:
        rows = {
            tuple(d): a / 100
            for d, a in zip(columns["decisions"], columns["accuracy"], strict=True)
        }
    assert space.size() == len(rows)
    for row, accuracy in rows.items():
        left = iter(int(taken) for taken, n in zip(row, options, strict=True) if n > 1)
        assert read.score(closed(space, lambda *_, left=left: next(left))) == accuracy


def test_no_two_rows_are_one_network(file):
    space = read_table(file).space
    counter = Counter((32, 32))
    assert len({counter.count(a).digest for a in space.enumerate()}) == space.size() == 18


def test_a_search_finds_the_whole_table(file, lookup):
    run = lookup(budget="100trials", strategy="random")
    assert run.ended == "used up"
    with np.load(file) as columns:
        assert sorted(t.values["miou"] for t in run.trials() if t.counts) == sorted(
            columns["accuracy"] / 100
        )
    assert (run.settings.space, run.settings.evaluator) == ("small", f"table:{file}")


def test_it_goes_on_from_another_folder_with_the_same_table(file, lookup, monkeypatch):
    monkeypatch.chdir(file.parent)
    first = lookup("table:small.npz", budget="5trials")
    monkeypatch.chdir("/")
    again = lookup(resume=first.folder, evaluator=f"table:{file}", budget="9trials")
    assert [t.counts for t in again.trials()].count(True) == 9
    assert Run.open(first.folder).settings.evaluator == f"table:{file}"


def test_limits_hold_as_in_any_search(lookup):
    run = lookup(budget="100trials", max_params="1.9k", strategy="random")
    trials = run.trials()
    assert {t.outcome for t in trials} >= {"complete", "refused"}
    assert all((t.params > 1900) == (t.outcome == "refused") for t in trials)
    assert sum(t.counts for t in trials) == 7


def test_it_scores_any_space_inside_its_own(file, lookup, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(read_table(file).space.text)
    assert load_space(own).digest == read_table(file).space.digest
    narrow = tmp_path / "narrow.yaml"
    narrow.write_text(own.read_text().replace(", {separable: {kernel: 7}}", ""))
    run = lookup(narrow, evaluator=f"table:{file}", budget="100trials")
    with np.load(file) as columns:
        within = (columns["decisions"] == 2).sum(axis=1) == 0
        assert sorted(t.values["miou"] for t in run.trials() if t.counts) == sorted(
            columns["accuracy"][within] / 100
        )


def test_another_space_is_refused_before_anything_runs(file, lookup, tmp_path):
    with pytest.raises(SpaceError, match="outside the space"):
        lookup("tiny", evaluator=f"table:{file}")
    assert not (tmp_path / "run").exists()
    larger = write_table(tmp_path / "larger.npz", (3, 2, 1, 4))
    with pytest.raises(SpaceError, match=r"blocks\[3\].*outside the space"):
        lookup(f"table:{larger}", evaluator=f"table:{file}")


def test_an_architecture_outside_is_an_error_of_its_trial(file):
    space = parse("task: {semantic: {classes: 2}}\nencoder: {stages: {stem: 4}}\n")
    with pytest.raises(SpaceError, match="outside the space"):
        read_table(file).score(closed(space, lambda *_: 0))


def evaluate(name, file, stop=lambda: False):
    architecture = closed(read_table(file).space, lambda *_: 0)
    job = Job(number=0, architecture=architecture.text, seed=0, evaluator=name)
    start = time.monotonic()
    return list(find(name)().evaluate(architecture, job, Stop(stop))), time.monotonic() - start


def test_a_trial_takes_as_long_as_is_asked_for(file):
    (row,), seconds = evaluate(f"table:{file},seconds=0.3", file)
    assert seconds >= 0.3
    assert [row] == evaluate(f"table:{file}", file)[0]


def test_a_trial_that_is_told_to_stop_does(file):
    rows, seconds = evaluate(f"table:{file},seconds=100", file, stop=lambda: True)
    assert rows == []
    assert seconds < 20


def test_a_table_is_looked_up_without_torch(file):
    code = (
        "import sys; from nas.evaluators import find; from nas.executors import Job;"
        "from nas.architecture import Architecture; from pathlib import Path;"
        f"name = 'table:{file}'; text = sys.argv[1];"
        "job = Job(number=0, architecture=text, seed=0, evaluator=name);"
        "print(*find(name)().evaluate(Architecture(text), job, lambda: False), 'torch' in sys.modules)"
    )
    text = closed(read_table(file).space, lambda _, options: len(options) - 1).text
    done = subprocess.run(
        [sys.executable, "-c", code, text], capture_output=True, text=True, check=False
    )
    score = read_table(file).scores[tuple(n - 1 for n in OPTIONS)]
    assert done.stdout == f"{{'miou': {float(score)!r}}} False\n", done.stderr


def columns(**changed):
    decisions = np.indices((2, 2)).reshape(2, -1).T
    return {"decisions": decisions, "accuracy": np.arange(4.0), **changed}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            columns(decisions=np.zeros((4, 2), int)),
            "4 rows for 1x1 options; expected each of the 1",
        ),
        (
            columns(decisions=np.array([[0, 0], [0, 1], [1, 1], [1, 1]])),
            "each of the 4 combinations",
        ),
        (columns(decisions=columns()["decisions"] - 1), "combinations once"),
        (columns(decisions=columns()["decisions"] / 2), "combinations once"),
        (columns(accuracy=np.arange(3.0)), r"got \(4, 2\) and \(3,\)"),
        (columns(accuracy=np.array([None] * 4)), "is no table"),
        ({"decisions": columns()["decisions"]}, "is no table"),
    ],
)
def test_what_is_no_table_is_said(tmp_path, wrong, said):
    file = tmp_path / "wrong.npz"
    np.savez(file, **wrong)
    with pytest.raises(DataError, match=said):
        read_table(file)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_what_is_no_file_of_arrays_is_said(tmp_path, content):
    file = tmp_path / "wrong.npz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=f"{file} is no table"):
        read_table(file)
    np.save(tmp_path / "one.npy", np.arange(3))
    with pytest.raises(DataError, match="is no table"):
        read_table(tmp_path / "one.npy")


@pytest.mark.parametrize("name", ["table:nowhere.npz", "table:nowhere.npz,seconds=soon"])
def test_a_name_of_nothing_is_refused_at_the_start(name, lookup):
    with pytest.raises(DataError, match=r"nowhere\.npz"):
        lookup(name)
    assert table.is_table(name)
