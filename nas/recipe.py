"""How a network is trained: one frozen record for short trials, retraining and the supernet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from nas.errors import RecipeError, SpaceError, suggest
from nas.fields import Positive, Range, Ratio, Share
from nas.language.document import read_file
from nas.losses import Loss, Weights, plain_loss, plain_weights, read_loss, read_weights

Size = tuple[Positive, Positive]
READERS = {"loss": read_loss, "aux_weight": read_weights}
Scales = tuple[
    Annotated[float, Range(least=0.05, most=20)], Annotated[float, Range(least=0.05, most=20)]
]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training recipe; raises RecipeError for a value outside its field's range.

    `crop` is (height, width) in pixels, None the network's input size. `warmup` is a share of all
    steps, `ema` the decay per step (0: off), `clip` the largest gradient norm (0: off), `loss` a name, or
    names with fields and weights, `aux_weight` the weight of each auxiliary head's loss, or of each head by name
    (both: `nas.losses`), `scale` the range of random scaling, `flip` and `photometric` a probability and a strength.
    `head_lr` is the learning rate of all but the encoder, as a multiple of `lr`.
    """

    epochs: Positive = 10
    batch: Positive = 8
    crop: Size | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Range(least=1e-8, most=100)] = 2e-3
    head_lr: Annotated[float, Range(least=0.01, most=100)] = 1.0
    weight_decay: Ratio = 0.01
    momentum: Share = 0.9
    schedule: Literal["poly", "cosine"] = "poly"
    power: Ratio = 0.9
    warmup: Share = 0.05
    loss: Loss = "cross_entropy"
    ema: Annotated[float, Range(least=0, most=0.99999)] = 0.0
    clip: Ratio = 5.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    channels_last: bool = True
    aux_weight: Weights = 0.4
    scale: Scales = (0.5, 2.0)
    flip: Share = 0.5
    photometric: Share = 0.3

    def __post_init__(self) -> None:
        for name in _hints():
            object.__setattr__(self, name, _checked(name, getattr(self, name), "recipe"))
        if self.scale[0] > self.scale[1]:
            raise RecipeError(f"recipe: scale: expected (smallest, largest), got {self.scale}")

    @classmethod
    def of(cls, source: Mapping[str, Any] | str | Path | None = None, **overrides: Any) -> Recipe:
        """Return the recipe of a mapping or a YAML file, with `overrides` on top; None overrides nothing.

        Raises RecipeError naming the place in the file, the field and the closest known field.
        """
        said = {key: (value, "recipe") for key, value in overrides.items() if value is not None}
        return cls.of_entries(entries(source) | said)

    @classmethod
    def of_entries(cls, found: Mapping[str, tuple[Any, str]]) -> Recipe:
        """Return the recipe of fields by name, each a value and its place; raises RecipeError with the place."""
        return cls(**{key: _checked(key, value, place) for key, (value, place) in found.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for YAML and JSON, every field written out; `Recipe.of` reads it back."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return plain | {
            "loss": plain_loss(self.loss),
            "aux_weight": plain_weights(self.aux_weight),
        }


@cache
def _hints() -> dict[str, Any]:
    """Return each field's annotation with its range."""
    hints = get_type_hints(Recipe, include_extras=True)
    return {field.name: hints[field.name] for field in fields(Recipe)}


def entries(source: Mapping[str, Any] | str | Path | None) -> dict[str, tuple[Any, str]]:
    """Return each field's value and its place; raises RecipeError if a file holds no mapping."""
    if not isinstance(source, str | Path):
        return {str(key): (value, "recipe") for key, value in (source or {}).items()}
    try:
        root = read_file(Path(source))
    except SpaceError as error:
        raise RecipeError(str(error)) from error
    if root.data is None:
        return {}
    if not isinstance(root.data, dict):
        raise RecipeError(
            f"{root.where}: expected fields of a recipe (`epochs: 100`), got {root.plain()!r}"
        )
    return {str(key): (value.plain(), str(value.where)) for key, value in root.data.items()}


def unknown(name: str, place: str, known: Iterable[str]) -> RecipeError:
    """Return the error that says of a field that there is none, and which is closest."""
    return RecipeError(f"{place}: no field of a recipe is called {name!r}; {suggest(name, known)}")


def _checked(name: str, value: Any, place: str) -> Any:
    """Return a field's value in its own type; raises RecipeError with the place and what was expected."""
    hints = _hints()
    if name not in hints:
        raise unknown(name, place, hints)
    try:
        return READERS[name](value, closed) if name in READERS else closed(hints[name], value)
    except ValueError as error:
        raise RecipeError(f"{place}: {name}: {error}") from None


def closed(hint: Any, value: Any) -> Any:
    """Return `value` as the annotation wants it; raises ValueError saying what was expected."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        return _ranged(closed(inner, value), [m for m in marks if isinstance(m, Range)])
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError(f"got {value!r}; {suggest(value, get_args(hint))}")
        return value
    if get_origin(hint) is tuple:
        return _pair(get_args(hint), value)
    options = get_args(hint)
    if NoneType in options:
        return (
            None if value is None else closed(next(o for o in options if o is not NoneType), value)
        )
    return _scalar(hint, value)


def _pair(hints: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    """Return the tuple in a list, a tuple or a text such as "160x208"."""
    items = value.lower().split("x") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or len(items) != len(hints):
        raise ValueError(f"expected {len(hints)} numbers, got {value!r}")
    if isinstance(value, str):
        items = [_number(item) for item in items]
    return tuple(closed(hint, item) for hint, item in zip(hints, items, strict=True))


def _scalar(hint: type, value: Any) -> Any:
    """Return a bool, int or float; whole floats pass as ints, and texts of numbers as numbers."""
    if hint is bool:
        if not isinstance(value, bool):
            raise ValueError(f"expected true or false, got {value!r}")
        return value
    number = _number(value)
    if hint is int:
        if number != int(number):
            raise ValueError(f"expected a whole number, got {value!r}")
        return int(number)
    return float(number)


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected a number, got {value!r}")  # noqa: TRY004
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"expected a number, got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {value!r}")
    return int(value) if isinstance(value, int) else number


def _ranged(value: Any, ranges: list[Range]) -> Any:
    """Return `value`; raises ValueError where it lies outside a range."""
    for r in ranges:
        if r.least is not None and value < r.least:
            raise ValueError(f"expected at least {r.least:g}, got {value}")
        if r.most is not None and value > r.most:
            raise ValueError(f"expected at most {r.most:g}, got {value}")
    return value
