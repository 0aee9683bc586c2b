"""Real processes, really killed."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from nas.record import read_seconds
from nas.run import Run

GO = Path(__file__).parent / "go.py"
TRIALS = 10

pytestmark = pytest.mark.full


def start(folder, evaluator="planted_slow", budget=f"{TRIALS}trials"):
    return subprocess.Popen(
        [sys.executable, str(GO), str(folder), evaluator, budget],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.strip(), err


def history(folder):
    return [
        (t.number, t.outcome, t.architecture, dict(t.values), t.seed, t.reason, len(t.epochs))
        for t in Run.open(folder).trials()
    ]


def wait_for(folder, trials):
    """Wait until so many trials have begun."""
    log = folder / "log.jsonl"
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if log.exists() and log.read_text().count('"began"') >= trials:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {trials} trials in {folder}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert finished(start(folder))[0] == "budget"
    return history(folder)


def test_kill_9_at_any_moment_loses_and_doubles_nothing(tmp_path, whole):
    folder = tmp_path / "run"
    rng = random.Random(5)
    for begun in (1, 5):
        process = start(folder)
        wait_for(folder, begun)
        time.sleep(rng.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = Run.open(folder).trials()
    assert finished(start(folder))[0] == "budget"
    trials = Run.open(folder).trials()
    kept = [t for t in before if t.outcome not in {"running", "waiting"}]
    assert trials[: len(kept)] == kept
    assert not {"running", "waiting"} & {t.outcome for t in trials}
    assert max(Counter(t.digest for t in trials if t.outcome == "complete").values()) == 1
    assert history(folder) == whole


def test_ctrl_c_ends_cleanly_and_goes_on(tmp_path, whole):
    folder = tmp_path / "run"
    process = start(folder)
    wait_for(folder, 4)
    process.send_signal(signal.SIGINT)
    assert finished(process)[0] == "interrupted"
    assert [t.outcome for t in Run.open(folder).trials()][-1] == "waiting"
    assert finished(start(folder))[0] == "budget"
    assert history(folder) == whole


def test_seconds_used_before_a_kill_count(tmp_path):
    folder = tmp_path / "run"
    process = start(folder, budget="1000s")
    wait_for(folder, 6)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    used = read_seconds(Run.open(folder).study_url)
    assert used > 1.0
    assert finished(start(folder, budget=f"{used + 1:.0f}s"))[0] == "budget"
    assert _used_at_start(folder) == [0.0, used]


def _used_at_start(folder):
    events = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [e["seconds_used"] for e in events if e["event"] == "started"]


def test_a_second_driver_is_refused_while_the_first_goes_on(tmp_path):
    folder = tmp_path / "run"
    first = start(folder, budget="1000s")
    wait_for(folder, 1)
    second = start(folder)
    _, err = second.communicate(timeout=120)
    assert second.returncode != 0
    assert f"is being searched by process {first.pid} on " in err
    first.send_signal(signal.SIGINT)
    assert finished(first)[0] == "interrupted"


def test_a_worker_that_dies_is_given_another_try(tmp_path, monkeypatch):
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("PLANTED_DIR", str(tmp_path / "marks"))
    folder = tmp_path / "run"
    finished(start(folder, "planted_killed", "6trials"))
    trials = [t for t in Run.open(folder).trials() if t.counts]
    hopeless = [t for t in trials if int(t.architecture_id, 16) % 3 == 0]
    assert hopeless
    assert {t.outcome for t in hopeless} == {"failed"}
    assert all("killed (SIGKILL)" in t.reason and t.error["type"] == "WorkerDied" for t in hopeless)
    assert {t.outcome for t in trials if t not in hopeless} == {"complete"}
    deaths = (folder / "log.jsonl").read_text().count('"worker died"')
    assert deaths == len(trials) + len(hopeless)
