"""What varies in a recipe: texts to ranges and lists, values drawn from them, and recipes made with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import RecipeError
from nas.recipe import Recipe
from nas.tuning.vary import Options, Span, apply, base_values, draw, moved, read_vary, show

SIZE = (128, 256)
BASE = Recipe(lr=2e-3, weight_decay=0.01)
MIX = {"cross_entropy": {"weight": 1.0}, "dice": {"weight": 0.5}}


def test_a_range_a_list_and_the_weight_of_a_loss() -> None:
    found = read_vary(["lr=1e-4..1e-2", "crop=96x128,128x192", "loss.dice=0..1"], BASE, SIZE)
    assert found == {
        "lr": Span(1e-4, 1e-2, by_magnitude=True),
        "crop": Options(([96, 128], [128, 192])),
        "loss.dice": Span(0.0, 1.0, by_magnitude=False),
    }


def test_a_field_alone_is_a_range_around_the_recipes_own_value() -> None:
    found = read_vary(["lr", "weight_decay"], BASE, SIZE)
    assert [str(part) for part in found.values()] == ["0.0002..0.02", "0.001..0.1"]
    assert str(read_vary(["weight_decay"], Recipe(weight_decay=0), SIZE)["weight_decay"]) == (
        "1e-05..0.01"
    )


def test_what_varies_where_nothing_is_said() -> None:
    found = read_vary([], BASE, SIZE)
    assert list(found) == ["lr", "weight_decay", "crop", "loss.dice"]
    assert str(found["crop"]) == "input size,96x192,64x128"
    given = read_vary([], Recipe(crop=(96, 128)), SIZE)
    assert str(given["crop"]) == "96x128,64x96,64x64"
    assert list(read_vary([], BASE, (32, 64))) == ["lr", "weight_decay", "loss.dice"]
    assert "loss.cross_entropy" in read_vary([], Recipe(loss="dice"), SIZE)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("learning=1..2", "no such field; known: "),
        ("weight_decy=0..1", "did you mean 'weight_decay'?"),
        ("epochs=10,20", "cannot vary: trainings are compared after the same number"),
        ("lr=1e-2", "expected a range (1e-4..1e-2) or at least two values"),
        ("lr=1e-2..1e-4", "expected the lower end first"),
        ("lr=0..1e-2", "drawn by orders of magnitude, so its range begins above 0"),
        ("lr=a..b", "expected a number, got 'a'"),
        ("lr=1..1000", "expected at most 100, got 1000"),
        ("batch=4..8", "batch has no range; list its values"),
        ("crop=96x128,512x512", "512x512 is larger than the input size 128x256"),
        ("optimizer=adamw,adm", "did you mean 'adamw'?"),
        ("loss.dise=0..1", "did you mean 'loss.dice'?"),
        ("loss.cross_entropy=0..1", "every loss has the weight 0"),
        ("flip", "say which values of flip"),
    ],
)
def test_what_cannot_vary_is_told(text: str, told: str) -> None:
    with pytest.raises(RecipeError) as error:
        read_vary([text], BASE, SIZE)
    assert told in str(error.value)


def test_a_field_is_given_once() -> None:
    with pytest.raises(RecipeError, match="lr is there twice"):
        read_vary(["lr", "lr=1e-4..1e-2"], BASE, SIZE)


@given(seed=st.integers(0, 2**32), number=st.integers(1, 1000))
def test_values_lie_in_their_ranges_and_make_a_recipe(seed: int, number: int) -> None:
    vary = read_vary([], BASE, SIZE)
    values = draw(vary, seed, number)
    assert 2e-4 <= values["lr"] <= 2e-2
    assert 1e-3 <= values["weight_decay"] <= 1e-1
    assert values["crop"] in vary["crop"].values  # type: ignore[union-attr]
    assert 0 <= values["loss.dice"] <= 1
    made = apply(BASE, values)
    assert made.to_dict()["crop"] == values["crop"]
    assert made.lr == values["lr"]
    assert made.epochs == BASE.epochs
    assert draw(vary, seed, number) == values
    for _ in range(3):
        values = moved(vary, values, np.random.default_rng(seed))
        assert 2e-4 <= values["lr"] <= 2e-2
        assert 0 <= values["loss.dice"] <= 1


def test_rates_are_drawn_by_their_magnitude() -> None:
    span = Span(1e-5, 1e-1, by_magnitude=True)
    drawn = [math.log10(span.draw(np.random.default_rng(i))) for i in range(400)]
    assert np.histogram(drawn, bins=4, range=(-5, -1))[0].min() > 60


def test_moving_is_by_a_fifth_or_a_quarter_or_to_a_neighbour() -> None:
    span, options = Span(0.0, 10.0, by_magnitude=False), Options((1, 2, 3))
    rng = np.random.default_rng(0)
    assert {span.moved(1.0, rng) for _ in range(20)} == {0.8, 1.25}
    assert {span.moved(9.0, rng) for _ in range(20)} == {7.2, 10.0}
    assert {options.moved(1, rng) for _ in range(20)} == {1, 2}
    assert {options.moved(2, rng) for _ in range(20)} == {1, 3}


@pytest.mark.parametrize("loss", ["cross_entropy", "dice", MIX, {"ohem": {"threshold": 0.6}}])
def test_the_recipes_own_values_give_the_recipe(loss: object) -> None:
    base = Recipe.of({"loss": loss, "crop": [64, 64]})
    vary = read_vary([], base, SIZE)
    assert apply(base, base_values(vary, base)) == base


def test_a_loss_without_weight_leaves_the_sum() -> None:
    assert apply(BASE, {"loss.dice": 0.5}).to_dict()["loss"] == MIX
    assert apply(Recipe.of({"loss": MIX}), {"loss.dice": 0.0}).loss == "cross_entropy"


def test_values_as_a_person_writes_them() -> None:
    assert [show(v) for v in (0.00123456, [96, 128], None, "sgd", MIX)] == [
        "0.00123",
        "96x128",
        "input size",
        "sgd",
        "cross_entropy + 0.5 dice",
    ]
