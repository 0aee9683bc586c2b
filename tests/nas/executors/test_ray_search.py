"""Whole searches on Ray: the same trials as anywhere, no line but ours, nothing lost when a driver or a node is."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from nas.run import Run
from tests.nas.executors.ray_cluster import Cluster, wait_for, wait_for_room

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.full

GO = Path(__file__).parents[1] / "search" / "go.py"
TRIALS = 14
ON_RAY = ("executor=ray", "strategy=random")
SEARCH = "search tiny --data street:images=12,val=6,size=32x64 --strategy random --seed 3 --budget 3trials --device cpu"


def nas(folder, home, *more):
    """Run a search; return its trials, and what it says on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "nas", *SEARCH.split(), "--run", str(folder), *more],
        env={**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    facts = [
        (t.number, t.outcome, t.architecture, dict(t.values), dict(t.costs), t.seed, _losses(t))
        for t in Run.open(folder).trials()
    ]
    return facts, done.stderr.splitlines()


def _losses(trial):
    return [epoch["loss"] for epoch in trial.epochs]


def test_a_search_on_ray_is_that_of_this_machine(tmp_path):
    (tmp_path / "home").mkdir()
    local, said = nas(tmp_path / "local", tmp_path / "home")
    ray, said_on_ray = nas(
        tmp_path / "ray", tmp_path / "home", "--executor", "ray", "--max-concurrent", "1"
    )
    assert ray == local
    assert len(ray) == 3
    words = [{line.split()[0] for line in lines} for lines in (said, said_on_ray)]
    numbers = {word for word in words[0] | words[1] if word[0].isdigit()}
    assert words[1] - numbers == (words[0] - numbers) | {"Ray:"}
    assert not list((tmp_path / "home").glob(".ray*"))


def start(folder, cluster):
    where = f"address={cluster.address}"
    return subprocess.Popen(
        [sys.executable, str(GO), str(folder), "planted_slow", f"{TRIALS}trials", *ON_RAY, where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **cluster.environment},
    )


def events(folder, name):
    log = folder / "log.jsonl"
    return log.read_text().count(f'"{name}"') if log.exists() else 0


def test_nothing_is_lost_when_the_driver_and_then_a_node_are_killed(tmp_path, monkeypatch):
    cluster = Cluster()
    try:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        nodes = []
        for cpus in (1, 2):  # two that start at once on one machine may get into each other's way
            nodes.append(cluster.add())
            wait_for_room(cluster, cpus)
        folder = tmp_path / "run"
        driver = start(folder, cluster)
        wait_for(lambda: events(folder, "complete") >= 3, "no trials", 120)
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        before = Run.open(folder).trials()
        driver = start(folder, cluster)
        wait_for(lambda: events(folder, "complete") >= 6, "no trials after the kill", 120)
        cluster.kill(nodes[0])
        out, err = driver.communicate(timeout=240)
        assert driver.returncode == 0, err
        assert out == "budget\n"
    finally:
        cluster.close()
    trials = Run.open(folder).trials()
    kept = [t for t in before if t.outcome not in {"running", "waiting"}]
    assert [t for t in trials if t.number in {k.number for k in kept}] == kept
    assert Counter(t.outcome for t in trials if t.counts) == {"complete": TRIALS}
    assert not {"running", "waiting"} & {t.outcome for t in trials}
    assert [t.number for t in trials] == list(range(len(trials)))
    assert all([e["epoch"] for e in t.epochs] == [1, 2] for t in trials if t.outcome == "complete")
    assert " is lost: " in err or " is gone: " in err
