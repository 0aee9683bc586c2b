"""`--recipe`: the paper's, the common one, a published one by name, a file; single options go on top."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nas.cli.app import app
from nas.recipe import Recipe
from nas.recipe_file import load_recipe

DATA = "street:images=8,val=2,size=32x64"


def retrain(folder: Path, *options: str, code: int = 0) -> Result:
    words = ["retrain", "fast_scnn", "--data", DATA, "--input", "32x64", "--run", str(folder)]
    done = CliRunner().invoke(app, [*words, *options])
    assert done.exit_code == code, done.output
    return done


def used(folder: Path) -> dict[str, Any]:
    (file,) = folder.rglob("score.json")
    return dict(json.loads(file.read_text())["recipe"])


@pytest.mark.full
def test_paper_and_common_differ_in_what_they_leave(tmp_path: Path) -> None:
    short = ("--epochs", "1", "--batch", "4")
    told = retrain(tmp_path / "paper", "--recipe", "paper", *short).stderr
    retrain(tmp_path / "common", "--recipe", "common", *short)
    retrain(tmp_path / "none", *short)
    paper = load_recipe("fast_scnn")
    assert f"recipe fast_scnn: {paper.source}" in told
    over = {"epochs": 1, "batch": 4}
    assert used(tmp_path / "paper") == Recipe.of(paper.recipe.to_dict(), **over).to_dict()
    assert used(tmp_path / "common") == Recipe.of(over).to_dict()
    assert used(tmp_path / "none") == used(tmp_path / "common") != used(tmp_path / "paper")


@pytest.mark.full
def test_a_published_recipe_of_something_else_is_cut_to_the_input(tmp_path: Path) -> None:
    retrain(tmp_path, "--recipe", "upernet", "--epochs", "1", "--batch", "4", "--lr", "0.5")
    recipe = used(tmp_path)
    assert (recipe["crop"], recipe["lr"], recipe["weight_decay"]) == ([32, 64], 0.5, 0.0005)


@pytest.mark.full
def test_steps_of_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("steps: 3\nbatch: 4\n")
    retrain(tmp_path / "run", "--recipe", str(tmp_path / "mine.yaml"))
    assert used(tmp_path / "run")["epochs"] == 2


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("papr", "did you mean 'paper'?"),
        ("fast_scnnn", "did you mean 'fast_scnn'?"),
        ("gone.yaml", "no such file: gone.yaml"),
    ],
)
def test_what_is_not_there_is_said_with_the_nearest_name(
    tmp_path: Path, recipe: str, told: str
) -> None:
    assert told in retrain(tmp_path, "--recipe", recipe, code=2).stderr


def test_a_search_has_no_paper_and_counts_epochs(tmp_path: Path) -> None:
    words = ["search", "tiny", "--data", DATA, "--budget", "1trials", "--run", str(tmp_path / "r")]
    paper, steps = (
        CliRunner().invoke(app, [*words, "--recipe", name]) for name in ("paper", "upernet")
    )
    assert (paper.exit_code, steps.exit_code) == (2, 2)
    assert "paper is the recipe of a published architecture, and a search is none" in paper.stderr
    assert "upernet counts 80,000 steps, a search epochs; add --epochs" in steps.stderr


def test_an_architecture_file_has_no_paper(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("base: fast_scnn\n")
    words = ["retrain", str(file), "--data", DATA, "--recipe", "paper"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert f"{file} is none; name a recipe" in done.stderr
