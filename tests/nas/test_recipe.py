"""Recipes: defaults, files, overrides, and what they refuse."""

from __future__ import annotations

import json
import pickle
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from nas.errors import RecipeError
from nas.recipe import Recipe


def test_plain_data_and_back() -> None:
    recipe = Recipe.of({"epochs": 3, "crop": [160, 208], "ema": 0.99})
    assert Recipe.of(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert set(recipe.to_dict()) == {field.name for field in fields(Recipe)}


def test_overrides_lie_on_top_and_none_leaves_alone() -> None:
    assert Recipe.of({"epochs": 3}, epochs=5, lr=None) == Recipe(epochs=5)
    assert Recipe.of(None) == Recipe()
    assert Recipe.of(None, crop="160x208").crop == (160, 208)


def test_a_yaml_file(tmp_path: Path) -> None:
    file = tmp_path / "long.yaml"
    file.write_text("epochs: 100\nlr: 1e-3\ncrop: [160, 208]\nscale: [1, 1]\n")
    recipe = Recipe.of(file)
    assert (recipe.epochs, recipe.lr, recipe.crop, recipe.scale) == (
        100,
        0.001,
        (160, 208),
        (1.0, 1.0),
    )
    assert Recipe.of(str(file)) == recipe


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epoch: 3", "no field of a recipe is called 'epoch'; did you mean 'epochs'?"),
        ("epochs: 0", "epochs: expected at least 1, got 0"),
        ("epochs: 2.5", "epochs: expected a whole number, got 2.5"),
        ("lr: fast", "lr: expected a number, got 'fast'"),
        ("lr: .nan", "expected a finite number"),
        ("", "the file is empty"),
        ("optimizer: adam", "optimizer: got 'adam'; did you mean 'adamw'?"),
        ("loss: ohm", "loss: got 'ohm'; did you mean 'ohem'?"),
        ("crop: [1, 2, 3]", "crop: expected 2 numbers, got [1, 2, 3]"),
        ("channels_last: 1", "channels_last: expected true or false, got 1"),
        ("flip: 1.5", "flip: expected at most 1, got 1.5"),
        ("- 1", "expected fields of a recipe"),
        ("a: [", "recipe.yaml:"),
        ("epochs: 1\nlr: 1\nepochs: 2", "epochs"),
        ("epochs: 1\nlr: -1", "recipe.yaml:2:5: lr: expected at least"),
    ],
)
def test_errors_name_file_and_field(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as error:
        Recipe.of(file)
    assert str(file) in str(error.value)
    assert told in str(error.value)


def test_scales_are_ordered() -> None:
    with pytest.raises(
        RecipeError, match=r"scale: expected \(smallest, largest\), got \(2\.0, 1\.0\)"
    ):
        Recipe.of({"scale": [2, 1]})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone\.yaml: No such file"):
        Recipe.of(tmp_path / "gone.yaml")


@pytest.mark.parametrize("change", [{"batch": -1}, {"ema": 1.0}, {"schedule": "step"}])
def test_replace_is_checked_too(change: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(change))):
        replace(Recipe(), **change)
