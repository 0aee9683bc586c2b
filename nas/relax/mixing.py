"""How options are mixed, and how the architecture parameters learn: plain values, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from nas.errors import RecipeError, suggest

Form = Literal["softmax", "gumbel"]
Gradient = Literal["compared", "straight_through"]
Pair = tuple[float, float]
LR, LARGEST = 3e-3, 0.1
"""The learning rate of Auto-DeepLab (section 5.1), and the most that is taken where the steps are few."""
TRAVEL: Mapping[str, float] = {"softmax": 30.0, "gumbel": 6.0}
"""Steps times learning rate, at least. Sampled paths need the less: what is decided early is trained more often."""
TEMPERATURES: Mapping[str, Pair] = {"softmax": (1.0, 1.0), "gumbel": (5.0, 0.5)}
"""From the first epoch to the last, where none is given."""

RANGES: Mapping[str, tuple[float, float]] = {
    "warmup": (0, 1),
    "lr": (1e-8, 100),
    "weight_decay": (0, 100),
    "pressure": (0, 100),
    "stiffness": (0, 1e6),
    "skip_dropout": (0, 0.99),
    "temperature": (1e-3, 1e3),
    "entropy": (-1e3, 1e3),
}
COSTS = ("targets", "limits", "weights")


@dataclass(frozen=True, slots=True)
class Mixing:
    """How options are mixed, and how the architecture parameters learn; the defaults are Auto-DeepLab's.

    `gradient` is that of sampled paths: which of two does better on a batch (`nas.relax.compared`), or straight through
    the one that is taken (GDAS); soft edges and second order ask for the latter. `order` 2 looks a step of the weights
    ahead (DARTS, eq. 7 and 8). `warmup` is the share of epochs in which only weights learn. `lr` None is Auto-DeepLab's
    0.003, and more where the steps are few: at that rate nothing is decided in some hundred steps. The `temperature`
    goes from the first to the second value, geometrically; None is 1 throughout for softmax, 5 to 0.5 for sampled paths
    (where paths are compared it decides nothing). `entropy` are the first and last of weights, linear over the epochs
    in which the architecture learns, of the sum of the questions' entropies (nats) in its loss. `skip_dropout` is how
    often a skip is left out of a step at first, falling linearly to 0 in the last epoch. `edges`: the sources of a pick
    have weights that are learned, and sum to 1. Of the channels of an edge 1 / `partial` go through its operations (see
    `nas.relax.partial`, which plans it).

    Costs go by name ("macs", "params", and what the supernet is given prices for): `targets` are expected costs to end
    at, `limits` expected costs not to pass, `weights` what a cost's logarithm counts in the loss: see
    `nas.relax.penalty`, as for `pressure` and `stiffness`.
    Raises RecipeError for a value outside its field's range.
    """

    form: Form = "softmax"
    gradient: Gradient | None = None
    order: Literal[1, 2] = 1
    warmup: float = 0.5
    lr: float | None = None
    weight_decay: float = 1e-3
    temperature: Pair | None = None
    entropy: Pair = (0.0, 0.0)
    skip_dropout: float = 0.0
    edges: bool = False
    partial: int = 1
    targets: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    pressure: float = 0.01
    stiffness: float = 2.0

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, _checked(f.name, getattr(self, f.name)))
        if self.gradient == "compared" and (self.form, self.order, self.edges) != (
            "gumbel",
            1,
            False,
        ):
            raise RecipeError(
                "mixing: gradient: compared is for sampled paths (form: gumbel) of first order without soft edges"
            )
        for name in self.costs:
            if name in self.targets and name in self.limits:
                raise RecipeError(
                    f"mixing: {name} has a target and a limit; a target is met from both sides, so leave one out"
                )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Mixing:
        """Return the mixing of a mapping; raises RecipeError naming the closest field for one that is unknown."""
        known = [f.name for f in fields(cls)]
        for name in given:
            if name not in known:
                raise RecipeError(f"mixing: no field is called {name!r}; {suggest(name, known)}")
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for YAML and JSON, every field written out; `Mixing.of` reads it back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def costs(self) -> tuple[str, ...]:
        """Names of the costs that any term of the loss asks for."""
        return tuple(dict.fromkeys([*self.targets, *self.limits, *self.weights]))

    def learns(self, epoch: int, epochs: int) -> bool:
        """Return whether the architecture learns in an epoch (from 0)."""
        return epoch >= self.warmup * epochs

    def rate(self, steps: int) -> float:
        """Return the learning rate where the architecture takes so many steps."""
        if self.lr is not None:
            return self.lr
        return min(LARGEST, max(LR, TRAVEL[self.form] / max(1, steps)))

    @property
    def compares(self) -> bool:
        """Return whether the architecture learns by comparing sampled paths."""
        if self.form != "gumbel" or self.gradient == "straight_through":
            return False
        return self.gradient == "compared" or (self.order == 1 and not self.edges)

    def temperature_at(self, epoch: int, epochs: int) -> float:
        """Return the temperature of an epoch (from 0)."""
        first, last = self.temperature or TEMPERATURES[self.form]
        return float(first * (last / first) ** _share(epoch, epochs))

    def entropy_at(self, epoch: int, epochs: int) -> float:
        """Return the weight of the entropies in an epoch (from 0): the first of the pair in the first that learns."""
        begin = math.ceil(self.warmup * epochs)
        share = _share(epoch - begin, epochs - begin)
        return self.entropy[0] + (self.entropy[1] - self.entropy[0]) * share

    def skip_dropout_at(self, epoch: int, epochs: int) -> float:
        """Return the chance that a skip is left out of a step of an epoch (from 0)."""
        return self.skip_dropout * (1 - _share(epoch, epochs))


def _share(epoch: int, epochs: int) -> float:
    """Return how far an epoch is on the way from the first (0) to the last (1)."""
    return min(1.0, max(0, epoch) / max(1, epochs - 1))


def _checked(name: str, value: Any) -> Any:
    """Return a field's value in its own type; raises RecipeError with what was expected."""
    if name == "form":
        return _one_of(name, value, get_args(Form))
    if name == "gradient":
        return value if value is None else _one_of(name, value, get_args(Gradient))
    if name == "order":
        return _one_of(name, value, (1, 2))
    if name == "edges":
        return _one_of(name, value, (True, False))
    if name == "partial":
        return _whole(name, value)
    if name in COSTS:
        return _costs(name, value)
    if value is None and name in {"temperature", "lr"}:
        return None
    if name in {"temperature", "entropy"}:
        return _pair(name, value)
    return _number(name, value)


def _one_of(name: str, value: Any, known: tuple[Any, ...]) -> Any:
    for one in known:
        if value == one and type(value) is type(one):
            return one
    raise RecipeError(f"mixing: {name}: got {value!r}; {suggest(value, known)}")


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RecipeError(f"mixing: {name}: expected a whole number from 1, got {value!r}")
    return value


def _costs(name: str, value: Any) -> dict[str, float]:
    """Return cost names with numbers above zero; a weight may be 0."""
    if not isinstance(value, Mapping):
        raise RecipeError(f"mixing: {name}: expected costs with numbers (macs: 2e9), got {value!r}")
    found = {str(cost): _number(f"{name}.{cost}", number) for cost, number in value.items()}
    for cost, number in found.items():
        if number < 0 or (number == 0 and name != "weights"):
            raise RecipeError(
                f"mixing: {name}.{cost}: expected a number above zero, got {number:g}"
            )
    return found


def _pair(name: str, value: Any) -> Pair:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise RecipeError(f"mixing: {name}: expected two numbers, first and last, got {value!r}")
    return _number(name, value[0]), _number(name, value[1])


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RecipeError(f"mixing: {name}: expected a number, got {value!r}")
    least, most = RANGES.get(name, (-math.inf, math.inf))
    if not least <= value <= most:
        raise RecipeError(f"mixing: {name}: expected {least:g} to {most:g}, got {value:g}")
    return float(value)
