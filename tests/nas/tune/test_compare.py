"""What is said of a tuning: which recipe is best, what a population's schedule means, how far a difference holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.errors import RecipeError, RunError
from nas.recipe import Recipe
from nas.tuning.asked import Asked, begin, first_rung, interval
from nas.tuning.compare import best_values, compare, found_best, mean_values, sentences
from nas.tuning.ledger import Ledger, Training
from nas.tuning.vary import read_vary

BASE = Recipe(epochs=8, lr=1e-3)


def asked(**more: Any) -> Asked:
    vary = read_vary(["lr=1e-4..1e-2", "loss.dice=0..1"], BASE, (32, 64))
    given: dict[str, Any] = {"recipe": BASE, "vary": vary, "samples": 4, "seed": 3}
    fixed = {"architecture": "{}", "data": "street", "size": (32, 64), "split": None}
    return Asked(**fixed, split_seed=0, **given | more)


def trained(ledger: Ledger, training: Training, epochs: int, miou: float, *parts: Any) -> None:
    """Record a training: `parts` are further (epoch, values) of its path."""
    path = [{"epoch": 1, "training": training.number, "values": training.values}]
    path += [{"epoch": e, "training": training.number, "values": v} for e, v in parts]
    facts = {"loss": 1.0, "lr": 0.1, "seconds": 60.0, "path": path}
    ledger.epoch(training.number, {"epoch": epochs, "miou": miou, **facts})
    ledger.end(training.number, "complete" if epochs == BASE.epochs else "stopped")


def test_the_seed_decides_what_is_tried_and_more_samples_add_to_it() -> None:
    few, same, more = asked().trainings(), asked().trainings(), asked(samples=9).trainings()
    assert few == same == more[:5]
    assert few[0].values == {"lr": 1e-3, "loss.dice": 0.0}
    assert few[1:] != asked(seed=4).trainings()[1:]
    assert len({t.values["lr"] for t in more}) == 10


def test_the_best_is_the_highest_of_those_that_came_to_their_end(tmp_path: Path) -> None:
    order, ledger = asked(), Ledger(tmp_path)
    trainings = order.trainings()
    for training, epochs, miou in zip(
        trainings, (8, 8, 2, 8, 8), (0.4, 0.5, 0.9, 0.6, 0.1), strict=True
    ):
        trained(ledger, training, epochs, miou)
    assert found_best(order, ledger, trainings) == 3
    found = compare(order, ledger, trainings, [])
    assert (found.number, found.miou, found.default_miou, found.is_better) == (3, 0.6, 0.4, True)
    assert set(found.changed) == {"lr", "loss"}
    assert found.recipe.lr == trainings[3].values["lr"]
    text = "\n".join(sentences(found, ledger, trainings))
    assert "mIoU 0.6000, +20.00 points" in text
    assert "5 trainings, 5m of training in all (the default recipe 1m)" in text
    assert "one seed each" in text


def test_a_draw_or_nothing_better_is_the_default(tmp_path: Path) -> None:
    order, ledger = asked(samples=1), Ledger(tmp_path)
    trainings = order.trainings()
    for training in trainings:
        trained(ledger, training, 8, 0.4)
    found = compare(order, ledger, trainings, [])
    assert (found.number, found.recipe, found.changed, found.is_better) == (0, BASE, {}, False)
    assert "no recipe was better" in sentences(found, ledger, trainings)[-1]


def test_a_schedule_becomes_its_mean_over_the_epochs(tmp_path: Path) -> None:
    order, ledger = asked(scheduler="pbt"), Ledger(tmp_path)
    trainings = order.trainings()
    first = Training(1, {"lr": 1e-4, "loss.dice": 0.0}, 3)
    trained(ledger, trainings[0], 8, 0.4)
    trained(ledger, first, 8, 0.7, (5, {"lr": 1e-2, "loss.dice": 1.0}))
    assert best_values(order, ledger, first) == {"lr": 1e-3, "loss.dice": 0.5}
    scratch = Training(5, {"lr": 1e-3, "loss.dice": 0.5}, 3, "scratch")
    trained(ledger, scratch, 8, 0.3)
    found = compare(order, ledger, trainings, [scratch])
    assert (found.schedule_miou, found.miou, found.is_better) == (0.7, 0.3, False)
    assert "this is not better than the default recipe" in sentences(found, ledger, trainings)


def test_lists_take_the_value_that_was_used_longest() -> None:
    vary = read_vary(["optimizer=adamw,sgd"], BASE, (32, 64))
    values = [{"optimizer": name} for name in ("adamw", "sgd", "adamw")]
    assert mean_values(vary, values, [2, 5, 4]) == {"optimizer": "adamw"}


@pytest.mark.parametrize(
    ("best", "told"),
    [((0.6, 0.62), "the best recipe is better"), ((0.4, 0.7), "cannot be told apart")],
)
def test_further_seeds_say_how_far_to_believe_it(
    tmp_path: Path, best: tuple[float, float], told: str
) -> None:
    order, ledger = asked(samples=1), Ledger(tmp_path)
    trainings = order.trainings()
    again = [
        Training(2 + k, {}, 90 + k, f"confirm {w}") for k, w in enumerate(["default", "best"] * 2)
    ]
    scores = (0.4, 0.5, 0.41, best[0], 0.43, best[1])
    for training, miou in zip([*trainings, *again], scores, strict=True):
        trained(ledger, training, 8, miou)
    found = compare(order, ledger, trainings, again)
    assert (found.default_scores, found.scores) == ((0.41, 0.43), best)
    lines = sentences(found, ledger, [*trainings, *again])
    assert told in lines[-1]
    assert "default recipe with 2 further seeds: mIoU 0.4200 +- 0.0141" in lines


def test_rungs_and_intervals() -> None:
    assert [first_rung(n) for n in (1, 8, 9, 100)] == [1, 1, 1, 11]
    assert [interval(n) for n in (1, 8, 60)] == [1, 1, 8]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"scheduler": "ahsa"}, "did you mean 'asha'?"),
        ({"scheduler": "pbt", "samples": 3}, "pbt takes at least 4 samples"),
        ({"samples": 0}, "asha takes at least 1"),
    ],
)
def test_what_cannot_be_asked(more: dict[str, Any], told: str) -> None:
    with pytest.raises(RunError) as error:
        asked(**more)
    assert told in str(error.value)


def test_a_population_cannot_change_its_optimiser_on_the_way() -> None:
    vary = read_vary(["optimizer=adamw,sgd"], BASE, (32, 64))
    with pytest.raises(RecipeError, match="pbt cannot vary optimizer"):
        asked(vary=vary, scheduler="pbt")


def test_a_tuning_goes_on_as_what_it_was_or_not_at_all(tmp_path: Path) -> None:
    begin(tmp_path, asked(), resume=False, facts={})
    with pytest.raises(RunError, match="--resume goes on with it, --overwrite begins anew"):
        begin(tmp_path, asked(), resume=False, facts={})
    begin(tmp_path, asked(), resume=True, facts={})
    vary = read_vary(["lr=1e-4..1e-1", "loss.dice=0..1"], BASE, (32, 64))
    for more, told in (
        ({"seed": 9}, "another seed (3 there, 9 asked)"),
        ({"vary": vary}, "another vary (lr: 0.0001..0.01 there, 0.0001..0.1 asked)"),
        ({"recipe": Recipe(epochs=9, lr=1e-3)}, "another recipe (epochs: 8 there, 9 asked)"),
    ):
        with pytest.raises(RunError) as error:
            begin(tmp_path, asked(**more), resume=True, facts={})
        assert told in str(error.value)
    (tmp_path / "tune.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        begin(tmp_path, asked(), resume=True, facts={})
