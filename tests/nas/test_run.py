import os
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from nas.errors import RunError
from nas.problem import Budget, Limits, make_problem
from nas.run import Run, Settings


def settings(**changes):
    known = {
        "space": "tiny",
        "space_digest": "0123456789ab",
        "data": "street",
        "classes": ("road", "sky"),
        "data_digest": "ba9876543210",
        "size": (64, 128),
        "problem": make_problem(["miou", "macs"], {"macs": "2G"}, "5trials"),
        "recipe": {"epochs": 3, "scale": [0.5, 2.0]},
    }
    return Settings(**known | changes)


@effort(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**31), st.sampled_from([None, "test"]), st.sampled_from([(), ("a", "b.yaml")])
)
def test_settings_survive_yaml(seed, split, start_from):
    made = settings(seed=seed, split=split, start_from=start_from, stall=3)
    assert Settings.from_dict(yaml.safe_load(yaml.safe_dump(made.to_dict()))) == made


def test_a_run_is_read_back(tmp_path):
    run = Run.create(tmp_path / "a", settings(), "space: text\n")
    assert Run.open(run.folder) == run
    data = yaml.safe_load((run.folder / "run.yaml").read_text())
    assert data["schema"] == 1
    assert set(data["machine"]) == {"system", "processor", "cores", "memory_gib"}
    assert {"python", "torch", "optuna"} <= set(data["versions"])
    assert run.space_file.read_text() == "space: text\n"


def test_a_change_keeps_what_was_not_changed(tmp_path):
    run = Run.create(tmp_path / "a", settings(), "")
    before = yaml.safe_load((run.folder / "run.yaml").read_text())
    problem = make_problem(["miou", "macs"], {"macs": "2G"}, "9trials")
    changed = run.change(problem=problem)
    assert changed == Run.open(run.folder)
    assert changed.problem.budget == Budget(9)
    after = yaml.safe_load((run.folder / "run.yaml").read_text())
    assert {k for k in before if before[k] != after[k]} == {"budget"}


def test_nothing_is_overwritten(tmp_path):
    Run.create(tmp_path / "a", settings(), "")
    with pytest.raises(RunError, match="--resume"):
        Run.create(tmp_path / "a", settings(seed=1), "")


def test_a_missing_run_names_the_closest(tmp_path):
    Run.create(tmp_path / "street-one", settings(), "")
    with pytest.raises(RunError, match="did you mean 'street-one'"):
        Run.open(tmp_path / "street-on")


@pytest.mark.parametrize("text", ["{", "[1]", "schema: 1\n", "schema: 2\n"])
def test_a_damaged_run_says_so(tmp_path, text):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(RunError, match=r"damaged|schema"):
        Run.open(tmp_path)


def test_limits_and_objectives_are_read_back(tmp_path):
    run = Run.open(Run.create(tmp_path / "a", settings(), "").folder)
    assert run.problem.limits == Limits(macs=2 * 10**9)
    assert run.problem.directions == ("maximize", "minimize")


HOLD = """
import sys
from nas.run import Run
with Run.open(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_driver_is_refused_with_the_holder(tmp_path):
    run = Run.create(tmp_path / "a", settings(), "")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match=f"process {holder.pid} on "), run.lock():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with run.lock():
        assert f"process {os.getpid()} on " in (run.folder / "lock").read_text()
    assert (run.folder / "lock").read_text() == ""


def test_the_log_holds_one_event_per_line(tmp_path):
    run = Run.create(tmp_path / "a", settings(), "")
    run.log("began", trial=1)
    run.log("complete", values={"miou": 0.5})
    lines = [yaml.safe_load(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert [(e["event"], e.get("trial"), e.get("values")) for e in lines] == [
        ("created", None, None),
        ("began", 1, None),
        ("complete", None, {"miou": 0.5}),
    ]
