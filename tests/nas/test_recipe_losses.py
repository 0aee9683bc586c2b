"""Losses in a recipe: names, fields, sums, weights of auxiliary heads, and what is refused."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.errors import RecipeError
from nas.losses import Term, terms, weight_of
from nas.recipe import Recipe


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("dice", [Term("dice")]),
        ({"dice": {}}, [Term("dice")]),
        ({"dice": None}, [Term("dice")]),
        ({"ohem": {"threshold": "0.6"}}, [Term("ohem", 1.0, (("threshold", 0.6),))]),
        (
            {"cross_entropy": {}, "lovasz": {"weight": 2}},
            [Term("cross_entropy"), Term("lovasz", 2.0)],
        ),
    ],
)
def test_a_loss_is_read_written_and_read_again(loss: Any, expected: list[Term]) -> None:
    recipe = Recipe.of({"loss": loss})
    assert list(terms(recipe.loss)) == expected
    assert Recipe.of(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert replace(recipe, epochs=3).loss == recipe.loss
    assert hash(recipe) == hash(Recipe.of(recipe.to_dict()))


def test_recipes_that_name_a_loss_and_one_weight_stay_as_they_are() -> None:
    plain = Recipe.of({"loss": "ohem", "aux_weight": 1}).to_dict()
    assert (plain["loss"], plain["aux_weight"]) == ("ohem", 1.0)
    default = Recipe()
    assert (default.loss, default.aux_weight, weight_of(0.4, "aux.any")) == (
        "cross_entropy",
        0.4,
        0.4,
    )


def test_the_recipe_of_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    text = readme.partition("<!-- file: recipe.yaml -->\n```yaml\n")[2].partition("```")[0]
    recipe = Recipe.of(yaml.safe_load(text))
    assert terms(recipe.loss) == (
        Term("ohem", 1.0, (("threshold", 0.6),)),
        Term("dice", 0.5),
    )
    assert weight_of(recipe.aux_weight, "aux.stage2") == 0.2


def test_weights_by_head() -> None:
    recipe = Recipe.of({"aux_weight": {"stage3": 1, "stage2": 0.5}})
    assert Recipe.of(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert weight_of(recipe.aux_weight, "aux.stage2") == 0.5
    with pytest.raises(
        RecipeError, match="weight for stage3, stage2, and the network a head at s8"
    ):
        weight_of(recipe.aux_weight, "aux.s8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loss: dise", "loss: got 'dise'; did you mean 'dice'?"),
        ("loss: {dise: {}}", "loss: got 'dise'; did you mean 'dice'?"),
        ("loss: {}", "loss: expected a name, or names with fields"),
        ("loss: 3", "loss: expected a name, or names with fields"),
        ("loss: {dice: 1}", "loss: dice: expected fields (weight, smooth), got 1"),
        ("loss: {dice: {gamma: 1}}", "loss: dice: no field is called 'gamma'"),
        ("loss: {dice: {smooth: 0}}", "loss: dice: smooth: expected at least 1e-06, got 0"),
        ("loss: {ohem: {threshold: 2}}", "loss: ohem: threshold: expected at most 1, got 2"),
        ("loss: {focal: {weight: -1}}", "loss: focal: weight: expected at least 0, got -1"),
        ("loss: {focal: {weight: 0}, dice: {weight: 0}}", "loss: every weight is 0"),
        ("aux_weight: -1", "aux_weight: expected at least 0, got -1"),
        ("aux_weight: {}", "aux_weight: expected a number, or a weight per head"),
        ("aux_weight: {stage3: much}", "aux_weight: stage3: expected a number, got 'much'"),
    ],
)
def test_errors_name_file_loss_and_field(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as error:
        Recipe.of(file)
    assert f"{file}:1:" in str(error.value)
    assert said in str(error.value)
