"""What may vary in a recipe: ranges and lists around a given one, and the values drawn from them.

lr=1e-4..1e-2            a range; of rates and decays every order of magnitude is as likely as any other
crop=96x128,128x192      some values of a field
loss.dice=0..1           the weight of one loss in the recipe's sum
lr                       a range around the recipe's own value
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.errors import RecipeError, suggest
from nas.losses import LOSSES, plain_loss, terms
from nas.recipe import Recipe, Size

Values = dict[str, Any]
"""Fields of a recipe, or "loss.NAME", to plain values: what is special about one training."""
LOSS = "loss."
BY_MAGNITUDE = frozenset({"lr", "weight_decay", "head_lr"})
NEVER = {
    "epochs": "trainings are compared after the same number of epochs (--epochs)",
    "precision": "it is a property of the machine",
    "channels_last": "it changes the speed, not the result",
}
FIXED_AT_START = frozenset({"batch", "optimizer", "head_lr", "ema"})
"""Fields that a training which goes on from another's weights cannot change."""
AROUND = 10.0
"""How far a range around a recipe's own value reaches, as a factor both ways."""
CROPS = (0.75, 0.5)
SMALLEST_CROP, CROP_STEP = 64, 32
FACTORS, AGAIN = (0.8, 1.25), 0.25
"""Population based training: what a value is multiplied by, and how often it is drawn anew instead."""
DIGITS = 3


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers from `low` to `high`; `by_magnitude` draws their logarithm."""

    low: float
    high: float
    by_magnitude: bool

    def draw(self, rng: np.random.Generator) -> float:
        """Return a number of the range, to three digits."""
        if self.by_magnitude:
            found = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        else:
            found = rng.uniform(self.low, self.high)
        return self._within(found)

    def moved(self, value: float, rng: np.random.Generator) -> float:
        """Return a number near `value`, that does not leave the range."""
        return self._within(value * FACTORS[int(rng.integers(2))])

    def _within(self, value: float) -> float:
        return min(self.high, max(self.low, float(f"{value:.{DIGITS}g}")))

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True, slots=True)
class Options:
    """Some plain values, in order."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """Return one of them."""
        return self.values[int(rng.integers(len(self.values)))]

    def moved(self, value: Any, rng: np.random.Generator) -> Any:
        """Return the one before or after `value`."""
        if value not in self.values:
            return self.draw(rng)
        place = self.values.index(value) + (-1, 1)[int(rng.integers(2))]
        return self.values[min(len(self.values) - 1, max(0, place))]

    def __str__(self) -> str:
        return ",".join(show(value) for value in self.values)


Vary = Mapping[str, Span | Options]


def read_vary(texts: Iterable[str], base: Recipe, size: Size) -> Vary:
    """Return what the texts say; without any: learning rate, weight decay, crop, and a share of the dice loss.

    `size` is the input size (H, W). Raises RecipeError with what was expected and the closest name.
    """
    found: dict[str, Span | Options] = {}
    for text in texts:
        name, said, values = text.partition("=")
        name = name.strip()
        _check_name(name)
        if name in found:
            raise RecipeError(f"--vary {text}: {name} is there twice; give it once")
        read = _read(name, values.strip(), text) if said else _around(name, base, size, text)
        _check(read, name, base, size)
        found[name] = read
    return found or _defaults(base, size)


def check_population(vary: Vary, base: Recipe) -> None:
    """Raise RecipeError where a training cannot take on a field while it runs."""
    for name in vary:
        if name in FIXED_AT_START or (name == "momentum" and base.optimizer == "sgd"):
            told = "its networks go on from one another's weights and optimiser"
            raise RecipeError(f"pbt cannot vary {name}, since {told}; use --scheduler asha")


def base_values(vary: Vary, base: Recipe) -> Values:
    """Return the recipe's own values of what varies."""
    plain = base.to_dict()
    weights = {term.name: term.weight for term in terms(base.loss)}
    return {
        name: weights.get(name.removeprefix(LOSS), 0.0) if name.startswith(LOSS) else plain[name]
        for name in vary
    }


def draw(vary: Vary, seed: int, number: int) -> Values:
    """Return the values of training `number`; the same whatever else is drawn."""
    rng = np.random.default_rng([seed, number])
    return {name: part.draw(rng) for name, part in vary.items()}


def moved(vary: Vary, values: Values, rng: np.random.Generator) -> Values:
    """Return values near `values`, as population based training explores: each moved, one in four drawn anew."""
    return {
        name: part.draw(rng) if rng.uniform() < AGAIN else part.moved(values[name], rng)
        for name, part in vary.items()
    }


def apply(base: Recipe, values: Values) -> Recipe:
    """Return the recipe with these values."""
    weights = {k.removeprefix(LOSS): v for k, v in values.items() if k.startswith(LOSS)}
    fields = {name: value for name, value in values.items() if not name.startswith(LOSS)}
    made = Recipe.of(base.to_dict() | fields)
    return Recipe.of(made.to_dict() | {"loss": _mixed(made, weights)}) if weights else made


def _mixed(base: Recipe, weights: Mapping[str, float]) -> Any:
    """Return the recipe's loss with some weights replaced; what has none is left out of the sum."""
    sums = {term.name: plain_loss((term,))[term.name] for term in terms(base.loss)}
    for name, weight in weights.items():
        sums[name] = {**sums.get(name, {}), "weight": weight}
    kept = {name: fields for name, fields in sums.items() if fields["weight"]}
    if not kept:
        raise RecipeError(f"every loss has the weight 0 ({', '.join(sums)}); keep one above it")
    alone = next(iter(kept)) if len(kept) == 1 else None
    return alone if alone and kept[alone] == {"weight": 1.0} else kept


def show(value: Any) -> str:
    """Return a value as a person writes it: 0.0012, 96x128, cosine, cross_entropy + 0.5 dice."""
    if isinstance(value, Mapping):
        weights = {name: fields.get("weight", 1.0) for name, fields in value.items()}
        return " + ".join(n if w == 1 else f"{show(w)} {n}" for n, w in weights.items())
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    if isinstance(value, list | tuple):
        return "x".join(show(part) for part in value)
    return "input size" if value is None else str(value)


def show_values(values: Values) -> str:
    """Return values in one line."""
    return ", ".join(f"{name} {show(value)}" for name, value in values.items())


def _defaults(base: Recipe, size: Size) -> Vary:
    loss = "cross_entropy" if {term.name for term in terms(base.loss)} == {"dice"} else "dice"
    found: dict[str, Span | Options] = {
        name: _around(name, base, size, name) for name in ("lr", "weight_decay", "crop")
    }
    if len(getattr(found["crop"], "values", ())) < 2:
        del found["crop"]
    return {**found, f"{LOSS}{loss}": Span(0.0, 1.0, by_magnitude=False)}


def _around(name: str, base: Recipe, size: Size, text: str) -> Span | Options:
    """Return a range around the recipe's own value."""
    if name.startswith(LOSS):
        return Span(0.0, 1.0, by_magnitude=False)
    if name == "crop":
        return Options((base.to_dict()["crop"], *_smaller(base.crop or size)))
    own = getattr(base, name)
    if name == "weight_decay" and own == 0:
        return Span(1e-5, 1e-2, by_magnitude=True)
    if name not in BY_MAGNITUDE:
        raise RecipeError(f"--vary {text}: say which values of {name} ({name}=0..0.5)")
    return Span(own / AROUND, own * AROUND, by_magnitude=True)


def _smaller(full: Size) -> list[list[int]]:
    """Return crops smaller than `full`, in steps of 32 pixels, no side of them below 64."""
    rounded = [[CROP_STEP * round(side * f / CROP_STEP) for side in full] for f in CROPS]
    kept = [crop for crop in rounded if min(crop) >= SMALLEST_CROP and crop != list(full)]
    return [crop for i, crop in enumerate(kept) if crop not in kept[:i]]


def _check_name(name: str) -> None:
    if name in NEVER:
        raise RecipeError(f"--vary {name}: this cannot vary: {NEVER[name]}")
    known = [*Recipe().to_dict(), *(f"{LOSS}{loss}" for loss in LOSSES)]
    if name not in known:
        raise RecipeError(
            f"--vary {name}: no such field; {suggest(name, [n for n in known if n not in NEVER])}"
        )


def _read(name: str, said: str, text: str) -> Span | Options:
    low, between, high = said.partition("..")
    if between:
        return _span(name, low, high, text)
    values = [value.strip() for value in said.split(",") if value.strip()]
    if len(values) < 2:
        raise RecipeError(
            f"--vary {text}: expected a range (1e-4..1e-2) or at least two values (96x128,128x192)"
        )
    if name.startswith(LOSS):
        return Options(tuple(_number(value, text) for value in values))
    return Options(tuple(Recipe.of({name: value}).to_dict()[name] for value in values))


def _span(name: str, low: str, high: str, text: str) -> Span:
    span = Span(_number(low, text), _number(high, text), by_magnitude=name in BY_MAGNITUDE)
    if not span.low < span.high:
        raise RecipeError(f"--vary {text}: expected the lower end first")
    if span.by_magnitude and span.low <= 0:
        raise RecipeError(
            f"--vary {text}: {name} is drawn by orders of magnitude, so its range begins above 0"
        )
    if not name.startswith(LOSS) and not isinstance(getattr(Recipe(), name), float):
        raise RecipeError(f"--vary {text}: {name} has no range; list its values, with commas")
    return span


def _number(said: str, text: str) -> float:
    try:
        found = float(said)
    except ValueError:
        raise RecipeError(f"--vary {text}: expected a number, got {said.strip()!r}") from None
    if not math.isfinite(found) or found < 0:
        raise RecipeError(f"--vary {text}: expected a finite number from 0, got {said.strip()}")
    return found


def _check(part: Span | Options, name: str, base: Recipe, size: Size) -> None:
    """Raise RecipeError for values that a recipe cannot have."""
    for value in (part.low, part.high) if isinstance(part, Span) else part.values:
        crop = apply(base, {name: value}).crop
        if name == "crop" and crop is not None and (crop[0] > size[0] or crop[1] > size[1]):
            raise RecipeError(
                f"--vary crop: {show(crop)} is larger than the input size {show(size)}, and would be padding"
            )
