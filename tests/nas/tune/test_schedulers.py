"""Schedulers beside what Ray makes of them: the default recipe, restarts, and what a population explores."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("ray.tune", reason="tuning needs the extra: ray")

from nas.errors import RunError
from nas.network import build
from nas.optim import make_optimizer
from nas.recipe import Recipe
from nas.train import State
from nas.tuning.ledger import Ledger
from nas.tuning.schedulers import Asha, Population
from nas.tuning.stage import check_own
from nas.tuning.vary import read_vary
from nas.tuning.work import adapted
from tests.nas.tune.tuning import ARCHITECTURE, RECIPE

EPOCHS = 9


class Named:
    """As much of a trial as successive halving looks at."""

    def __init__(self, number: int) -> None:
        self.trial_id = self.name = str(number)

    def __str__(self) -> str:
        return self.name


def asha(ledger: Ledger) -> Asha:
    made = Asha(EPOCHS, ledger)
    made.set_search_properties("miou", "max")
    return made


def row(epoch: int, miou: float) -> dict[str, Any]:
    return {"epoch": epoch, "miou": miou, "loss": 1.0, "lr": 0.1, "seconds": 1.0, "path": []}


def decisions(scheduler: Asha, scores: dict[int, float], epoch: int = 1) -> dict[int, str]:
    trials = {n: Named(n) for n in scores}
    for trial in trials.values():
        scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    return {
        n: scheduler.on_trial_result(None, trials[n], row(epoch, miou))  # type: ignore[arg-type]
        for n, miou in scores.items()
    }


def test_the_worst_are_stopped_but_never_the_default(tmp_path: Path) -> None:
    scores = {1: 0.5, 2: 0.6, 3: 0.7, 4: 0.1, 0: 0.05, 5: 0.8}
    found = decisions(asha(Ledger(tmp_path)), scores)
    assert {n for n, decision in found.items() if decision == "STOP"} == {4}
    last = asha(Ledger(tmp_path))
    assert decisions(last, {0: 0.1}, EPOCHS) == {0: "STOP"}


def test_what_was_reported_before_a_restart_counts(tmp_path: Path) -> None:
    before = Ledger(tmp_path)
    for number, miou in ((1, 0.5), (2, 0.6), (3, 0.7)):
        before.epoch(number, row(1, miou))
        before.end(number, "stopped")
    scheduler = asha(Ledger(tmp_path))
    for number in (1, 2, 3):
        scheduler.on_trial_add(None, Named(number))  # type: ignore[arg-type]
    assert decisions(scheduler, {4: 0.55}) == {4: "STOP"}
    assert decisions(asha(Ledger(tmp_path / "other")), {4: 0.55}) == {4: "CONTINUE"}


def test_a_population_explores_within_its_ranges_and_leaves_the_rest() -> None:
    vary = read_vary(["lr=1e-4..1e-2", "loss.dice=0..1"], Recipe(), (32, 64))
    scheduler = Population(EPOCHS, vary, seed=1)
    config = {"training": {"number": 7, "seed": 3, "values": {"lr": 1e-2, "loss.dice": 1.0}}}
    for _ in range(50):
        made = scheduler._explore(config)["training"]
        assert (made["number"], made["seed"]) == (7, 3)
        assert 1e-4 <= made["values"]["lr"] <= 1e-2
        assert 0 <= made["values"]["loss.dice"] <= 1
    assert config["training"]["values"] == {"lr": 1e-2, "loss.dice": 1.0}


def test_a_population_leaves_the_default_and_the_last_epoch_alone() -> None:
    scheduler = Population(EPOCHS, {}, seed=1)
    state = random.getstate()
    for number, epoch in ((0, 1), (0, 5), (3, EPOCHS)):
        assert scheduler.on_trial_result(None, Named(number), row(epoch, 0.5)) == "CONTINUE"  # type: ignore[arg-type]
    assert scheduler.on_trial_result(None, Named(3), {"ended": "failed"}) == "CONTINUE"  # type: ignore[arg-type]
    assert random.getstate() == state


def test_weights_of_another_recipe_are_trained_on_by_ones_own() -> None:
    network = build(ARCHITECTURE, seed=0)
    theirs, own = Recipe(weight_decay=0.1), Recipe(weight_decay=0.003)
    optimizer = make_optimizer(network, theirs)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = State(3, dict(network.state_dict()), optimizer.state_dict(), None, [])
    made = adapted(state, network, own)
    after = make_optimizer(network, own)
    after.load_state_dict(made.optimizer)
    assert [g["weight_decay"] for g in after.param_groups] == [
        g["weight_decay"] for g in make_optimizer(network, own).param_groups
    ]
    assert made.optimizer["state"] == state.optimizer["state"]
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.1, 0.0}


def test_the_same_recipe_goes_on_with_the_same_state() -> None:
    network = build(ARCHITECTURE, seed=0)
    optimizer = make_optimizer(network, RECIPE).state_dict()
    assert adapted(State(1, {}, optimizer, None, []), network, RECIPE).optimizer == optimizer


def test_files_that_others_can_write_are_not_unpickled(tmp_path: Path) -> None:
    folder = tmp_path / "ray" / "search-6"
    folder.mkdir(parents=True)
    for path in (tmp_path / "ray", folder):
        path.chmod(0o700)
    pickle = folder / "tuner.pkl"
    pickle.touch(mode=0o600)
    check_own(folder)
    for path, mode in ((pickle, 0o620), (pickle, 0o602), (folder, 0o720), (folder.parent, 0o777)):
        before = path.stat().st_mode
        path.chmod(mode)
        with pytest.raises(RunError, match=f"{path}: somebody else than you can write it"):
            check_own(folder)
        path.chmod(before)
    (folder / "experiment_state-1.json").symlink_to(pickle)
    with pytest.raises(RunError, match="somebody else"):
        check_own(folder)
