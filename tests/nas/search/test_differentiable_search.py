"""A differentiable search is a search like any other: its snapshots are trials, and it survives what others survive."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.architecture import Architecture
from nas.errors import LimitError, NasError, PlanError, RecipeError, RunError
from nas.front import front
from nas.latency.predictor import Predictor
from nas.latency.table import load_table
from nas.plan import Planner
from nas.run import Run
from tests.nas.latency import synthetic
from tests.nas.search import differentiable
from tests.nas.search.differentiable import SUPERNET, go


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted search."""
    return go(tmp_path_factory.mktemp("whole") / "run")


def history(run):
    """Return what must not depend on interruptions."""
    return [
        (t.number, t.outcome, t.architecture, dict(t.values), t.seed, timeless(t.snapshot))
        for t in Run.open(run.folder).trials()
    ]


def timeless(snapshot):
    return {k: v for k, v in snapshot.items() if k != "score_seconds"}


def test_every_snapshot_is_a_trial_scored_by_the_short_training(whole):
    trials = Run.open(whole.folder).trials()
    assert whole.ended == "used up"
    assert [(t.snapshot["branch"], t.snapshot["epoch"]) for t in trials] == [(0, 3), (0, 4)]
    for trial in trials:
        assert trial.outcome in {"complete", "duplicate"}
        assert set(trial.values) == {"miou", "macs"}
        assert trial.values["macs"] == trial.macs
        assert 0 <= trial.snapshot["supernet_miou"] <= 1
        assert trial.snapshot["expected"]["macs"] > 0
    assert {row.id for row in front(whole.folder).rows} <= {t.architecture_id for t in trials}
    assert front(whole.folder).to_dict()["front"][0]["snapshot"]["supernet_miou"] > 0


def test_the_supernet_leaves_its_states_and_what_was_watched(whole):
    folder = whole.folder / "supernet"
    rows = json.loads((folder / "branch-0-epochs.json").read_text())
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["watched"]["gradient"] is None for row in rows] == [True, True, False, False]
    assert (folder / "warm.pt").is_file()
    assert (folder / "branch-0.pt").is_file()
    assert (folder / "branch-0.png").read_bytes().startswith(b"\x89PNG")


def test_a_sweep_makes_a_branch_for_each_target_from_one_warm_up(tmp_path, whole):
    targets = [1.5e5, 2.3e5]
    run = go(tmp_path / "run", supernet={**SUPERNET, "sweep": {"macs": targets}})
    trials = run.trials()
    assert [(t.snapshot["branch"], t.snapshot["epoch"]) for t in trials] == [
        (0, 3),
        (0, 4),
        (1, 3),
        (1, 4),
    ]
    assert [t.snapshot["targets"]["macs"] for t in trials] == [t for t in targets for _ in "12"]
    for trial in trials:
        assert trial.macs == pytest.approx(trial.snapshot["targets"]["macs"], rel=0.05)
    both = [
        json.loads((run.folder / "supernet" / f"branch-{b}-epochs.json").read_text()) for b in "01"
    ]
    for row, other in zip(both[0][:2], both[1][:2], strict=True):
        assert row["loss"] == other["loss"]
    assert both[0][2]["watched"]["multipliers"] != both[1][2]["watched"]["multipliers"]


def test_limits_hold_for_what_is_decoded(tmp_path):
    run = go(tmp_path / "run", max_macs="170k")
    assert run.trials()
    assert all(t.macs <= 170_000 for t in run.trials() if t.outcome in {"complete", "duplicate"})


@pytest.mark.full
def test_killed_at_any_moment_it_ends_as_if_it_never_was(tmp_path, whole):
    folder = tmp_path / "run"
    command = [sys.executable, differentiable.__file__, str(folder)]
    for seconds in (4.0, 6.0, 5.0):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(seconds)
        process.kill()
        process.communicate()
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "used up"
    assert history(Run.open(folder)) == history(whole)


@pytest.mark.full
def test_a_worker_may_die_once_on_the_way_to_each_snapshot(tmp_path, whole):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, differentiable.__file__, str(folder)], stdout=subprocess.PIPE, text=True
    )
    for epoch in (3, 4):
        wait_until(lambda e=epoch: e in begun(folder))
        wait_until(lambda: workers(process.pid))
        os.kill(workers(process.pid)[0], signal.SIGKILL)
    assert process.communicate(timeout=300)[0].strip() == "used up"
    assert begun(folder) == [3, 3, 4, 4]
    assert history(Run.open(folder)) == history(whole)


def begun(folder):
    """Return the epochs up to which the supernet was to be trained, in the order of beginning."""
    log = folder / "log.jsonl"
    lines = map(json.loads, log.read_text().splitlines()) if log.exists() else ()
    return [e["given"]["epoch"] for e in lines if e["event"] == "began" and "groundwork" in e]


def workers(driver):
    """Return the processes that evaluate for a driver."""
    children = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
    commands = {int(c): Path(f"/proc/{c}/cmdline").read_text() for c in children}
    return [child for child, command in commands.items() if "nas.executors.worker" in command]


def wait_until(holds):
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_last_good_state(tmp_path):
    run = go(tmp_path / "run", supernet={**SUPERNET, "weights": {"macs": 1e308}})
    assert run.ended == "failing"
    said = next(
        json.loads(line)["note"]
        for line in (run.folder / "log.jsonl").read_text().splitlines()
        if '"ended"' in line
    )
    assert re.search(
        r"epoch 3, step 1: .* (nan|inf).*the last good state, after epoch 2, is kept", said
    )
    assert (run.folder / "supernet" / "warm.pt").is_file()


def test_latency_is_a_target_too_from_a_table_alone(tmp_path, capsys):
    pytest.importorskip("sklearn")
    synthetic.table().save(tmp_path / "table.json")
    run = go(
        tmp_path / "run",
        size=synthetic.SIZE,
        latency_table=tmp_path / "table.json",
        supernet={**SUPERNET, "snapshots": 1, "sweep": {"latency": [1.0, 0.84]}},
        progress=True,
    )
    assert run.settings.target == "eager"
    near, far = run.trials()
    predictor = Predictor(load_table(run.latency_table))
    for trial in (near, far):
        plan = Planner(synthetic.SIZE).plan(Architecture(trial.architecture))
        assert trial.snapshot["reached"]["latency"] == pytest.approx(predictor(plan))
        assert trial.snapshot["expected"]["latency"] > 0
    assert near.snapshot["reached"]["latency"] == pytest.approx(1.0, rel=0.05)
    said = capsys.readouterr()
    missed = re.findall(r"the nearest to the target latency (\S+ ms)", said.out + said.err)
    assert missed == ["0.84 ms"]


def test_targets_out_of_reach_are_refused_with_the_range(tmp_path):
    with pytest.raises(LimitError, match=r"target macs 9 G is out of reach.* to "):
        go(tmp_path / "run", supernet={**SUPERNET, "sweep": {"macs": [9e9]}})
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_mixed_is_named_and_can_be_fixed(tmp_path):
    with pytest.raises(PlanError, match=r"--fix let.width=last") as caught:
        go_tiny(tmp_path)
    fixes = re.findall(r"--fix (\S+=last)", str(caught.value).split("\n('*'")[0])
    run = go_tiny(tmp_path, fix=fixes)
    assert run.ended == "used up"
    assert dict(run.settings.fixed) == {f.removesuffix("=last"): "last" for f in fixes}


def go_tiny(tmp_path, **asked):
    from nas.search import search

    return search(
        "tiny",
        data=differentiable.DATA,
        size=(32, 64),
        strategy="differentiable",
        recipe=differentiable.RECIPE,
        supernet={"epochs": 2, "snapshots": 1},
        budget="100trials",
        device="cpu",
        executor="in_process",
        progress=False,
        run=tmp_path / "run",
        **asked,
    )


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"supernet": {"epoch": 4}}, RecipeError, "known: epochs"),
        ({"supernet": {"snapshots": 0}}, RecipeError, "whole number from 1"),
        ({"supernet": {"form": "gumball"}}, RecipeError, "gumbel"),
        ({"strategy": "tpe"}, LimitError, "only a differentiable search"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_made(tmp_path, asked, error, said):
    with pytest.raises(error, match=said):
        go(tmp_path / "run", **asked)
    assert not (tmp_path / "run").exists()


def test_another_schedule_is_another_search(whole):
    from nas.search import search

    with pytest.raises(RunError, match=r"supernet\.epochs: the run has 4, asked for 5"):
        search(resume=whole.folder, supernet={"epochs": 5}, progress=False)


def test_a_supernet_that_does_not_fit_says_what_would(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.relax.training.free_bytes", lambda _device: 2_000_000)
    with pytest.raises(NasError, match=r"takes about .* are free; what would fit: .*--form gumbel"):
        go(tmp_path / "run", preflight=True)


def test_epochs_are_fitted_to_the_time(tmp_path):
    run = go(
        tmp_path / "run",
        supernet={"snapshots": 1},
        budget="1h",
        preflight=True,
        dry_run=True,
    )
    assert run.ended == "dry run"
    with pytest.raises(LimitError, match="not enough"):
        go(tmp_path / "run", supernet={"snapshots": 1}, budget="0.01s", preflight=True)
