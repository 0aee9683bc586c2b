"""Recipes in files: steps that become epochs, crops that are cut, names, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import RecipeError
from nas.recipe import Recipe
from nas.recipe_file import RecipeFile, load_recipe, recipe_of
from tests.nas.retraining import again


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


@given(steps=st.integers(1, 10**6), batch=st.integers(1, 64), images=st.integers(1, 10**5))
def test_steps_are_the_fewest_epochs_that_take_so_many(steps: int, batch: int, images: int) -> None:
    epochs = RecipeFile("", Recipe(batch=batch), steps=steps).fitted(images, (8, 8)).epochs
    per_epoch = max(1, images // batch)
    assert (epochs - 1) * per_epoch < steps <= epochs * per_epoch


@given(
    crop=st.tuples(st.integers(1, 2048), st.integers(1, 2048)),
    size=st.tuples(st.integers(1, 2048), st.integers(1, 2048)),
)
def test_a_crop_is_its_part_inside_the_input(crop: tuple[int, int], size: tuple[int, int]) -> None:
    file = RecipeFile("", Recipe(crop=crop, epochs=7))
    assert file.fitted(100, size) == Recipe(crop=tuple(map(min, crop, size)), epochs=7)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = load_recipe(written(tmp_path, "steps: 100\nlr: 0.5\nbatch: 4\nsource: a talk\n"))
    assert file == RecipeFile("mine", Recipe(lr=0.5, batch=4), steps=100, source="a talk")
    assert file.fitted(41, (8, 8)) == Recipe(lr=0.5, batch=4, epochs=10)


def test_a_plain_recipe_is_a_recipe_file(tmp_path: Path) -> None:
    path = written(tmp_path, "epochs: 3\ncrop: [16, 32]\nloss: {dice: {weight: 0.5}}\n")
    assert load_recipe(path).fitted(10, (64, 64)) == Recipe.of(path)


def test_names() -> None:
    assert load_recipe("common").fitted(100, (64, 64)) == Recipe()
    assert load_recipe("ddrnet23_slim") == load_recipe("ddrnet")
    assert recipe_of("mosaic_paper") == "mosaic"
    assert recipe_of("nothing") is None
    one, other = (load_recipe(name).recipe for name in ("fast_scnn", "segnext"))
    assert (one.optimizer, one.lr, other.optimizer, other.lr) == ("sgd", 0.045, "adamw", 6e-5)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fast_scn", "no published recipe: fast_scn; did you mean 'fast_scnn'?"),
        ("papr", "did you mean 'paper'?"),
        ("gone/segnet.yaml", "no such file: gone/segnet.yaml; did you mean 'segnext'?"),
    ],
)
def test_the_nearest_name_is_said(name: str, told: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(name)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("step: 3", "1:7: no field of a recipe is called 'step'; did you mean 'steps'?"),
        ("lr: 1\nsteps: 0", "2:8: steps: expected at least 1, got 0"),
        ("steps: 3\nepochs: 3", "1:8: steps and epochs both say how long"),
        ("source: 3", "source: expected a text, got 3"),
        ("architectures: fast_scnn", "architectures: expected a list of names"),
        ("architectures: [1]", "architectures: expected a text, got 1"),
        ("head_lr: 0", "head_lr: expected at least 0.01, got 0"),
    ],
)
def test_errors_name_file_and_field(tmp_path: Path, text: str, told: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(RecipeError) as error:
        load_recipe(file)
    assert str(error.value).startswith(str(file))
    assert told in str(error.value)


def test_a_training_from_before_a_field_existed_goes_on(tmp_path: Path) -> None:
    done = again(tmp_path)
    settings = json.loads((tmp_path / "retrain.json").read_text())
    assert settings["recipe"].pop("head_lr") == 1
    (tmp_path / "retrain.json").write_text(json.dumps(settings))
    assert again(tmp_path, resume=True) == done
