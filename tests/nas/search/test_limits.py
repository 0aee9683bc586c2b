"""Searches under limits that hardly any random architecture keeps."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState

from nas.architecture import Architecture
from nas.candidates import RARE, is_rare, is_refused
from nas.cost import Counter as CostCounter
from nas.errors import LimitError
from nas.executors import EXECUTORS
from nas.front import front
from nas.run import Run
from nas.space import load_space
from nas.strategies.nsga2 import POPULATION
from tests.nas.search.conftest import DATA, PLANTED
from tests.nas.search.test_search import STRATEGIES, history

ONE_IN_10_000 = 6_120_000
"""MACs of real_time at 64x64 that 51 of 500,000 random architectures keep."""
STREAK = min(number for number, _ in RARE)
LARGE = """
base: tiny
encoder:
  stages:
    stem: {choice: [8, 16, 24, 32]}
    stages:
      - {width: {choice: [8, 16, 24, 32]}, blocks: {repeat: 1, of: {choice: {mbconv: {expand: 3}, basic: {}}}}}
      - {width: {use: width}, blocks: {repeat: {choice: [1, 2]}, of: {mbconv: {kernel: {choice: [3, 5]}, expand: 3}}}}
      - {width: {choice: [8, 16, 32, 48, 64]}, blocks: [{mbconv: {expand: 3}}]}
"""
"""11,520 architectures: too many to be counted out in a search, and few enough for a test."""


@pytest.fixture
def tight(find):
    """A search of real_time under a limit that one in 10,000 random architectures keeps."""

    def tight(folder="run", **asked):
        return find(
            "real_time", folder=folder, size=(64, 64), **{"max_macs": ONE_IN_10_000} | asked
        )

    return tight


@pytest.fixture
def uncounted(monkeypatch):
    """Let every space be too large to be counted out."""
    monkeypatch.setattr("nas.candidates.COUNTED", {})
    monkeypatch.setattr("nas.unseen.LISTED", 0)


def trained(run):
    return [t for t in run.trials() if t.outcome == "complete"]


def planted(trial):
    return sys.modules["user_planted"].score(Architecture(trial.architecture))


def networks(space, run):
    """Return all networks of a space, as the run saw it, by digest, with what they cost."""
    fitted = load_space(space).with_classes(len(run.settings.classes))
    counter = CostCounter(run.settings.size)
    counted = map(counter.count, fitted.with_input((3, *run.settings.size)).enumerate())
    return {c.digest: c for c in counted}


@pytest.mark.full
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_in_ten_thousand_is_no_obstacle(tight, strategy):
    run = tight(strategy=strategy, budget="12trials")
    trials = run.trials()
    assert run.ended == "budget"
    assert len({t.digest for t in trained(run)}) == 12
    assert all(t.macs <= ONE_IN_10_000 for t in trials if t.epochs or t.counts)
    repaired = [t for t in trials if t.repaired_from is not None]
    assert repaired[0].number == STREAK
    for trial in repaired:
        assert trial.repaired_from == trial.number - 1
        assert is_refused(trials[trial.repaired_from])
        assert is_rare(lambda t: t.outcome == "complete", trials[: trial.number])
        assert trial.values == {"miou": planted(trial), "macs": trial.macs}


@pytest.mark.full
def test_kill_9_between_repairs_loses_and_doubles_nothing(tight, tmp_path):
    whole = tight("whole", evaluator="planted_slow", budget="8trials")
    folder = tmp_path / "run"
    for begun in (1, 3):
        process = go_on(folder)
        wait_for(folder, begun, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert go_on(folder).wait(timeout=300) == 0
    killed = Run.open(folder)
    assert history(killed) == history(whole)
    assert [t.repaired_from for t in killed.trials()] == [t.repaired_from for t in whole.trials()]


def go_on(folder):
    """Begin the search of `tight` in a process of its own, or go on with it."""
    asked = {
        "data": DATA,
        "size": (64, 64),
        "max_macs": ONE_IN_10_000,
        "evaluator": "planted_slow",
        "executor": "in_process",
        "plugins": [str(PLANTED)],
        "preflight": False,
        "device": "cpu",
        "run": str(folder),
    }
    how = (
        {"resume": str(folder)}
        if (folder / "run.yaml").exists()
        else {"space": "real_time"} | asked
    )
    code = f"from nas.search import search; search(budget='8trials', progress=False, **{how!r})"
    return subprocess.Popen([sys.executable, "-c", code])


def wait_for(folder, trials, process):
    """Wait until so many trials have begun."""
    log = folder / "log.jsonl"
    while not (log.exists() and log.read_text().count('"began"') >= trials):
        assert process.poll() is None
        time.sleep(0.02)


@pytest.mark.full
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_resumed_is_uninterrupted_with_repairs(tight, find, strategy):
    whole = tight("whole", strategy=strategy, budget="23trials")
    part = tight("part", strategy=strategy, budget="1trials")
    for trials in (2, 3, 9, 21, 23):
        part = find(resume=part.folder, budget=f"{trials}trials")
    assert history(part) == history(whole)
    assert [t.repaired_from for t in part.trials()] == [t.repaired_from for t in whole.trials()]


@pytest.mark.full
def test_repaired_networks_become_parents(tight):
    """Every network that nsga2 has had trained is in a generation, and a full one is followed by the next."""
    run = tight(strategy="nsga2", budget=f"{2 * POPULATION + 1}trials")
    study = optuna.load_study(study_name=run.folder.name, storage=run.study_url)
    done = [t for t in study.get_trials() if t.state == TrialState.COMPLETE]
    assert any("repaired_from" in t.user_attrs for t in done)
    generations = Counter(t.system_attrs["InOrder:generation"] for t in done)
    assert generations == {0: POPULATION, 1: POPULATION, 2: 1}


@pytest.mark.full
def test_two_limits_are_kept_at_once(tight):
    run = tight(strategy="random", budget="5trials", max_macs="12M", max_params="330k")
    assert len(trained(run)) == 5
    assert all(t.macs <= 12_000_000 and t.params <= 330_000 for t in trained(run))
    assert all(t.repaired_from is not None for t in trained(run))


@pytest.mark.full
def test_where_a_tenth_fits_random_search_stays_random(tight):
    run = tight(strategy="random", budget="12trials", max_macs="22M")
    free = [t for t in run.trials() if t.outcome in {"complete", "refused"}]
    assert 0.05 < len(trained(run)) / len(free) < 0.2
    assert all(t.repaired_from is None for t in run.trials())


@pytest.mark.parametrize("kept", [1, 5, 12])
def test_all_networks_within_a_limit_are_found_without_counting_them_out(
    find, uncounted, kept, capfd
):
    every = networks("tiny", find("tiny", folder="any", budget="1trial"))
    cap = sorted(c.macs for c in every.values())[kept - 1]
    run = find("tiny", strategy="random", budget="1000trials", max_macs=cap, progress=True)
    assert run.ended == "used up"
    within = sorted(digest for digest, c in every.items() if c.macs <= cap)
    assert sorted(t.digest for t in trained(run)) == within
    assert (
        f"the space is used up: {len(within)} networks within the limits" in capfd.readouterr().err
    )


@pytest.mark.full
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_large_space_ends_when_what_fits_is_scored(find, tmp_path, strategy):
    file = tmp_path / "large.yaml"
    file.write_text(LARGE)
    every = networks(file, find(file, folder="any", budget="1trial"))
    cap = sorted(c.macs for c in every.values())[30]
    run = find(file, strategy=strategy, budget="1000trials", max_macs=cap)
    assert run.ended == "used up"
    within = sorted(digest for digest, c in every.items() if c.macs <= cap)
    assert sorted(t.digest for t in trained(run)) == within


@pytest.fixture
def several(monkeypatch):
    """The name of an executor that has three trials out at once."""
    monkeypatch.setitem(EXECUTORS, "several", "tests.nas.search.several:Several")
    return "several"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_network_is_trained_while_it_is_in_training(find, small, several, strategy):
    run = find(small, strategy=strategy, executor=several, budget="1000trials")
    trials = run.trials()
    assert run.ended == "used up"
    assert sorted(t.digest for t in trials if t.epochs) == sorted(networks(small, run))
    held = [t for t in trials if t.reason.startswith("in training")]
    assert held or strategy != "random"
    for trial in held:
        first = trials[trial.duplicate_of]
        assert trial.reason == f"in training as trial {first.number}"
        assert (trial.outcome, first.outcome, trial.values) == ("duplicate", "complete", {})
        assert (trial.digest, trial.counts) == (first.digest, False)
        assert first.started < trial.started < first.ended


@pytest.mark.full
def test_several_workers_share_a_tight_limit(tight, several):
    run = tight(strategy="random", executor=several, budget="9trials")
    assert len({t.digest for t in trained(run)}) == len(trained(run)) == 9
    assert all(t.repaired_from == t.number - 1 for t in trained(run))


def test_a_limit_that_nothing_keeps_ends_a_search_without_a_pre_flight(find, uncounted, capfd):
    run = find("tiny", max_macs=1, budget="5trials", progress=True)
    assert run.ended == "used up"
    assert {t.outcome for t in run.trials()} == {"refused"}
    assert "no architecture of the space is within the limits" in capfd.readouterr().err


def test_a_limit_that_nothing_keeps_is_refused_before_there_is_a_run(find, tmp_path):
    with pytest.raises(
        LimitError, match=r"the smallest that the space can reach have macs .*; raise"
    ):
        find(max_macs=1000, preflight=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.full
def test_repairs_are_shown_and_on_record(tight, capfd):
    run = tight(strategy="random", budget="3trials", progress=True)
    assert "3 repaired" in capfd.readouterr().err.splitlines()[-1]
    found = json.loads(json.dumps(front(run).to_dict()))
    assert found["repaired"] == 3
    by_number = {t.number: t for t in Run.open(run.folder).trials()}
    for row in found["front"]:
        assert row["repaired_from"] == by_number[row["trial"]].repaired_from is not None
    events = map(json.loads, (run.folder / "log.jsonl").read_text().splitlines())
    ended = {e["trial"]: e for e in events if e["event"] == "complete"}
    assert [e["repaired_from"] for e in ended.values()] == [t.repaired_from for t in trained(run)]
