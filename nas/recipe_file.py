"""Recipes in files: those that papers publish, by name or by what they train, and a person's own.

steps: 150000                        # in place of epochs: as many epochs as take at least so many steps
source: Yu et al. 2021, section 5    # where a published recipe comes from
architectures: [bisenetv2]           # which published architectures it trains
lr: 0.05                             # and any field of a recipe
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from nas.errors import RecipeError, suggest
from nas.fields import Positive
from nas.language.library import recipes
from nas.recipe import Recipe, Size, closed, entries, unknown

COMMON, PAPER = "common", "paper"
STEPS, SOURCE, TRAINS = "steps", "source", "architectures"
OWN = (STEPS, SOURCE, TRAINS)


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A recipe as its file has it; `steps`, where given, stand in the place of the recipe's epochs."""

    name: str
    recipe: Recipe
    steps: int | None = None
    source: str = ""
    architectures: tuple[str, ...] = ()

    def fitted(self, images: int, size: Size) -> Recipe:
        """Return the recipe for a training split of `images`, at an input of `size` (H, W).

        `steps` become the fewest epochs of full batches that take so many, batches being the recipe's
        own; `epochs` stay. A crop is cut to the size: what is beyond would be padding.
        """
        crop = self.recipe.crop
        if crop is not None:
            crop = (min(crop[0], size[0]), min(crop[1], size[1]))
        epochs = self.recipe.epochs
        if self.steps is not None:
            epochs = math.ceil(self.steps / max(1, images // self.recipe.batch))
        return replace(self.recipe, crop=crop, epochs=epochs)


def load_recipe(path_or_name: str | Path) -> RecipeFile:
    """Return the recipe in a file, the published one of that name, or the one that trains an architecture of that name.

    "common" is every field's default. Raises RecipeError with the place in the file, or the closest name.
    """
    if path_or_name == COMMON:
        return RecipeFile(COMMON, Recipe(), source="the same for every architecture")
    path = Path(path_or_name)
    return _read(path if path.is_file() else _published(str(path_or_name)))


def recipe_of(architecture: str) -> str | None:
    """Return the name of the published recipe that trains a published architecture, None where there is none."""
    for name, path in recipes().items():
        if architecture in _read(path).architectures:
            return name
    return None


def _published(name: str) -> Path:
    files = recipes()
    found = name if name in files else recipe_of(name)
    if found is None:
        known = [COMMON, PAPER, *files]
        what = "no such file" if Path(name).suffix else "no file and no published recipe"
        raise RecipeError(f"{what}: {name}; {suggest(Path(name).stem, known)}")
    return files[found]


def _read(path: Path) -> RecipeFile:
    found = entries(path)
    known = [field.name for field in fields(Recipe)]
    for key, (_, place) in found.items():
        if key not in known and key not in OWN:
            raise unknown(key, place, (*known, *OWN))
    own = {key: found.pop(key) for key in OWN if key in found}
    if STEPS in own and "epochs" in found:
        raise RecipeError(f"{own[STEPS][1]}: steps and epochs both say how long; give one of them")
    return RecipeFile(path.stem, Recipe.of_entries(found), **_own(own))


def _own(found: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
    """Return what a file says beside the recipe's fields, each in its own type."""
    values = {}
    for key, (value, place) in found.items():
        try:
            values[key] = READERS[key](value)
        except ValueError as error:
            raise RecipeError(f"{place}: {key}: {error}") from None
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {value!r}")  # noqa: TRY004
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list of names ([fast_scnn]), got {value!r}")  # noqa: TRY004
    return tuple(map(_text, value))


READERS = {STEPS: lambda value: closed(Positive, value), SOURCE: _text, TRAINS: _names}
