"""Front, knee, picks, confirmation marks and plot of runs whose trials are made up."""

import json
import shutil
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import RandomSampler

from nas.architecture import Architecture
from nas.confirmed import is_alike, pooled_deviation, read_confirmed, write_scores
from nas.errors import RunError
from nas.front import front, front_of, pick
from nas.front_plot import plot
from nas.problem import make_problem
from nas.record import Record, TrialRecord
from nas.run import Run, Settings


def architecture(number):
    return Architecture(json.dumps({"number": number}))


def asked(limit=None):
    return Settings(
        space="made up",
        space_digest="",
        data="street",
        classes=("road", "sky"),
        data_digest="",
        size=(64, 128),
        problem=make_problem(("miou", "macs"), {"macs": limit}, "10trials"),
    )


def make_run(folder, scored, refused=(), limit=None):
    """A run whose trials have these (miou, macs)."""
    run = Run.create(folder, asked(limit), "")
    record = Record(run.study_url, folder.name, {"miou": "maximize", "macs": "minimize"})
    for number, (miou, macs) in enumerate(scored):
        settle(record, number, "complete", macs, [miou, macs])
    for number, macs in enumerate(refused, len(scored)):
        settle(record, number, "refused", macs, None)
    record.close()
    return run


def settle(record, number, outcome, macs, values):
    closed = architecture(number)
    facts = {
        "architecture_id": closed.id,
        "architecture": closed.text,
        "digest": str(number),
        "macs": macs,
        "params": 10 * macs,
        "seed": number,
        "epochs": [{"epoch": 1, "loss": 1.0}],
        "seconds": 2.5,
    }
    record.finish(record.ask(RandomSampler(seed=0)).number, outcome, facts, values)


def dominated(one, by):
    return by != one and by[0] >= one[0] and by[1] <= one[1]


scores = st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.integers(1, 20))


def record_of(number, miou, macs):
    name = architecture(number).id
    return TrialRecord(
        number,
        "complete",
        architecture_id=name,
        macs=macs,
        params=1,
        values={"miou": miou, "macs": macs},
    )


@given(scored=st.lists(scores, min_size=1, max_size=12))
def test_the_front_is_that_of_brute_force(scored):
    trials = [record_of(number, *values) for number, values in enumerate(scored)]
    found = front_of(Run(Path("nowhere"), asked()), trials)
    best = {i for i, one in enumerate(scored) if not any(dominated(one, by) for by in scored)}
    rows = {row.trial for row in found.rows}
    assert {scored[i] for i in rows} == {scored[i] for i in best}
    assert rows <= best
    assert [row.knee for row in found.rows].count(True) == 1
    assert found.dominated == len(scored) - len(rows)


SCORED = [(0.5, 100), (0.7, 200), (0.72, 900), (0.6, 300), (0.4, 100)]


@pytest.fixture
def run(tmp_path, made):
    """A run of one's own."""
    return Run.open(shutil.copytree(made, tmp_path / "r"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(
        tmp_path_factory.mktemp("made") / "r", SCORED, refused=[5000, 6000], limit=1000
    ).folder


def test_the_table(run):
    found = front(run)
    assert [row.trial for row in found.rows] == [2, 1, 0]
    assert found.knee is not None
    assert found.knee.trial == 1
    assert found.counts == {"complete": 5, "refused": 2}
    assert found.columns() == ["id", ">trial", ">mIoU", ">MACs", ">params", ">epochs", ""]
    assert found.cells()[1] == [architecture(1).id, "1", "0.7000", "200", "2 k", "1", "knee"]


def test_front_json_says_what_the_table_says(run):
    found = front(run)
    content = json.loads(found.write().read_text())
    assert content == json.loads(json.dumps(found.to_dict()))
    assert content["schema"] == 1
    assert content["knee"] == architecture(1).id
    assert [row["values"]["miou"] for row in content["front"]] == [0.72, 0.7, 0.5]
    assert content["limits"] == {"macs": 1000}


def test_an_empty_run_has_an_empty_front(tmp_path):
    run = make_run(tmp_path / "r", [], refused=[10])
    found = front(run)
    assert (found.rows, found.knee, found.dominated) == ((), None, 0)
    found.write()
    assert plot(found).stat().st_size > 1000
    with pytest.raises(RunError, match="no trained network yet"):
        pick(run, "best")


def test_a_run_without_a_study_has_an_empty_front(run):
    (run.folder / "study.db").unlink()
    assert front(run).rows == ()


def test_picks_by_name_and_by_the_start_of_an_id(run):
    assert pick(run, "knee") == [architecture(1)]
    assert pick(run.folder, "best") == [architecture(2)]
    assert pick(run, "front") == [architecture(2), architecture(1), architecture(0)]
    assert pick(run, architecture(3).id) == [architecture(3)]
    assert pick(run, architecture(4).id[:6]) == [architecture(4)]
    with pytest.raises(RunError, match="did you mean 'knee'"):
        pick(run, "kne")
    with pytest.raises(RunError, match="no architecture is called ''"):
        pick(run, "")


def test_retrained_scores_stand_beside_those_of_the_search(run):
    for seed, miou in ((1, 0.8), (0, 0.82)):
        folder = run.folder / "retrained" / architecture(1).id / f"seed-{seed}"
        folder.mkdir(parents=True)
        (folder / "score.json").write_text(json.dumps({"seed": seed, "miou": miou}))
    found = front(run)
    assert found.knee.retrained.scores == (0.82, 0.8)
    assert found.knee.retrained.mean == pytest.approx(0.81)
    assert ">retrained" in found.columns()
    assert found.cells()[1][6] == "0.8100 ± 0.0141 (2)"
    assert found.cells()[0][6] == ""
    plot(found)


def test_what_cannot_be_told_apart_is_marked(run):
    ids = [architecture(n).id for n in range(3)]
    values = {ids[2]: [0.72, 0.70, 0.74], ids[1]: [0.70, 0.72, 0.71], ids[0]: [0.5, 0.52, 0.48]}
    write_scores(
        run, {i: [{"seed": s, "miou": v} for s, v in enumerate(vs)] for i, vs in values.items()}
    )
    found = read_confirmed(run)
    spread = statistics.fmean(statistics.variance(v) for v in values.values()) ** 0.5
    assert [c.spread for c in found.values()] == pytest.approx([spread] * 3)
    assert {i: c.alike for i, c in found.items()} == {
        ids[2]: (ids[1],),
        ids[1]: (ids[2],),
        ids[0]: (),
    }
    table = front(run)
    assert table.columns()[-3:] == [">confirmed", "cannot be told from", ""]
    assert table.cells()[2][-3:] == ["0.5000 ± 0.0200 (3)", "", ""]


def test_the_rule():
    assert is_alike([0.5, 0.6], [0.7, 0.8], 0.1)
    assert not is_alike([0.5, 0.6], [0.7, 0.8], 0.0999)
    assert pooled_deviation([[1.0], [2.0]]) == 0.0
    assert pooled_deviation([[1.0, 3.0], [5.0]]) == pytest.approx(2**0.5)
    assert pooled_deviation([[1.0, 3.0], [1.0, 1.0, 1.0]]) == pytest.approx((2 / 3) ** 0.5)


def test_the_plot_is_a_picture(run, tmp_path):
    found = front(run)
    file = plot(found)
    assert file == found.run.folder / "front.png"
    assert file.read_bytes()[:4] == b"\x89PNG"
    assert plot(found, tmp_path / "a" / "b.svg").read_text().startswith("<?xml")
