"""Options of a training recipe, shared by search and retrain; what is not given comes from the file or the default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from nas.cli.command import Size
from nas.losses import LOSSES

if TYPE_CHECKING:
    from nas.recipe import Recipe

F = TypeVar("F", bound=Callable[..., Any])
PANEL = "Training"
FIELDS = ("epochs", "batch", "crop", "lr", "optimizer", "loss", "precision")


def recipe_options(command: F) -> F:
    """Add `--recipe FILE` and an option for each of FIELDS."""
    options = (
        click.option(
            "--recipe",
            type=click.Path(path_type=Path),
            panel=PANEL,
            help="YAML file with a recipe's fields; `aux_weight: {stage3: 0.4}` weighs auxiliary heads.",
        ),
        click.option(
            "--epochs", type=click.IntRange(1), panel=PANEL, help="Epochs of each training."
        ),
        click.option("--batch", type=click.IntRange(1), panel=PANEL, help="Images per step."),
        click.option(
            "--crop",
            type=Size(),
            panel=PANEL,
            help="Size of the random crops; the input size if left out.",
        ),
        click.option("--lr", type=float, panel=PANEL, help="Highest learning rate."),
        click.option(
            "--optimizer", type=click.Choice(("adamw", "sgd")), panel=PANEL, help="Optimiser."
        ),
        click.option(
            "--loss",
            type=click.Choice(tuple(LOSSES)),
            panel=PANEL,
            help="Loss; fields and sums in --recipe: `loss: {ohem: {threshold: 0.6}, dice: {weight: 0.5}}`.",
        ),
        click.option(
            "--precision",
            type=click.Choice(("auto", "fp32", "bf16")),
            panel=PANEL,
            help="Arithmetic.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def make_recipe(asked: dict[str, Any], before: dict[str, Any] | None = None) -> Recipe:
    """Return the recipe of `--recipe`, or `before`, with the single options that were given on top."""
    from nas.recipe import Recipe

    given = {name: asked[name] for name in FIELDS}
    return Recipe.of(asked["recipe"] or before, **given)
