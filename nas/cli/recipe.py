"""Options of a training recipe, shared by search and retrain; what is not given comes from the file or the default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
            panel=PANEL,
            metavar="NAME|FILE",
            help="YAML file with a recipe's fields, `common` (every default), a published recipe's name, or, of a "
            "published architecture, `paper`.",
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


@dataclass(frozen=True, slots=True)
class Training:
    """What a recipe from a file is fitted to: what is trained, on how many images, at which input size (H, W)."""

    source: str
    images: int
    size: tuple[int, int]


def make_recipe(
    asked: dict[str, Any],
    before: dict[str, Any] | None = None,
    training: Training | None = None,
) -> Recipe:
    """Return the recipe of `--recipe`, or `before`, with the single options that were given on top.

    What a published recipe is for says `training`; without it (a search) a recipe that counts steps
    needs `--epochs`. Raises RecipeError with the closest name.
    """
    from nas.recipe import Recipe

    given = {name: asked[name] for name in FIELDS}
    if asked["recipe"] is None:
        return Recipe.of(before, **given)
    return Recipe.of(_from_file(asked, training).to_dict(), **given)


def _from_file(asked: dict[str, Any], training: Training | None) -> Recipe:
    from nas.errors import RecipeError
    from nas.recipe_file import PAPER, load_recipe

    name = asked["recipe"]
    file = load_recipe(_of_paper(training) if name == PAPER else name)
    if file.source:
        click.echo(f"recipe {file.name}: {file.source}", err=True)
    if training is not None:
        return file.fitted(training.images, training.size)
    if file.steps is not None and asked["epochs"] is None:
        raise RecipeError(f"{name} counts {file.steps:,} steps, a search epochs; add --epochs")
    return file.recipe


def _of_paper(training: Training | None) -> str:
    """Return the name of the recipe of what is trained; raises RecipeError where it is not published."""
    from nas.errors import RecipeError
    from nas.recipe_file import COMMON, PAPER, recipe_of

    found = recipe_of(training.source) if training is not None else None
    if found is None:
        what = "a search" if training is None else training.source
        told = f"{PAPER} is the recipe of a published architecture, and {what} is none"
        raise RecipeError(f"{told}; name a recipe (fast_scnn), a file, or {COMMON}")
    return found
