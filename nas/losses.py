"""What a recipe may say of its loss: which of those that a task offers, their fields, and a weight each.

loss: dice                                             # one, as it is
loss: {ohem: {threshold: 0.6}}                         # one, with fields
loss: {cross_entropy: {}, lovasz: {weight: 0.5}}       # a weighted sum
aux_weight: {stage3: 1, stage2: 0.4}                   # deep supervision: a weight per auxiliary head
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from nas.errors import RecipeError, suggest
from nas.fields import Range, Ratio, Share

Closed = Callable[[Any, Any], Any]
"""(annotation, value) to the value in its own type; raises ValueError with what was expected."""

LOSSES: Mapping[str, Mapping[str, Any]] = {
    "cross_entropy": {},
    "ohem": {"threshold": Share, "least": Share},
    "focal": {"gamma": Ratio},
    "dice": {"smooth": Annotated[float, Range(least=1e-6)]},
    "lovasz": {},
}
"""The fields of each loss; what they are by default stands where the loss is defined."""


@dataclass(frozen=True, slots=True)
class Term:
    """One loss of a sum: its weight, and those of its fields that were given."""

    name: str
    weight: float = 1.0
    fields: tuple[tuple[str, float], ...] = ()


Loss = str | tuple[Term, ...]
Weights = float | tuple[tuple[str, float], ...]


def terms(loss: Loss) -> tuple[Term, ...]:
    """Return what is to be added up."""
    return (Term(loss),) if isinstance(loss, str) else loss


def weight_of(weights: Weights, head: str) -> float:
    """Return the weight of the auxiliary output `head` ("aux.stage3" of the head called stage3).

    Raises RecipeError where the recipe has a weight for each of some heads, and none for this one.
    """
    if not isinstance(weights, tuple):
        return weights
    name, given = head.removeprefix("aux."), dict(weights)
    if name not in given:
        told = ", ".join(given)
        raise RecipeError(
            f"aux_weight has a weight for {told}, and the network a head at {name}, too: add it (0 for no weight)"
        )
    return given[name]


def read_loss(value: Any, closed: Closed) -> Loss:
    """Return the loss in plain data, or as it was read before; raises ValueError with what was expected."""
    if isinstance(value, tuple) and value and all(isinstance(t, Term) for t in value):
        value = plain_loss(value)
    if isinstance(value, str):
        return _known(value)
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"expected a name, or names with fields ({{dice: {{}}}}), got {value!r}")
    found = tuple(_term(_known(name), fields, closed) for name, fields in value.items())
    if not sum(term.weight for term in found):
        raise ValueError("every weight is 0; give one of the losses a weight")
    return found


def _known(name: Any) -> str:
    if name not in LOSSES:
        raise ValueError(f"got {name!r}; {suggest(str(name), LOSSES)}")
    return str(name)


def _term(name: str, given: Any, closed: Closed) -> Term:
    known = {"weight": Ratio, **LOSSES[name]}
    if not isinstance(given, Mapping | None):
        raise ValueError(f"{name}: expected fields ({', '.join(known)}), got {given!r}")  # noqa: TRY004
    fields = {}
    for field, value in (given or {}).items():
        if field not in known:
            raise ValueError(f"{name}: no field is called {field!r}; {suggest(field, known)}")
        try:
            fields[field] = closed(known[field], value)
        except ValueError as error:
            raise ValueError(f"{name}: {field}: {error}") from None
    weight = fields.pop("weight", 1.0)
    return Term(name, weight, tuple(fields.items()))


def plain_loss(loss: Loss) -> Any:
    """Return a loss as plain data, which `read_loss` reads back."""
    if isinstance(loss, str):
        return loss
    return {term.name: {"weight": term.weight, **dict(term.fields)} for term in loss}


def read_weights(value: Any, closed: Closed) -> Weights:
    """Return the weight of auxiliary heads: one number, or one per head; raises ValueError with what was expected."""
    if isinstance(value, tuple):
        value = dict(value)
    if not isinstance(value, Mapping):
        return float(closed(Ratio, value))
    if not value:
        raise ValueError("expected a number, or a weight per head ({stage3: 0.4}), got {}")
    pairs = []
    for head, weight in value.items():
        try:
            pairs.append((str(head), float(closed(Ratio, weight))))
        except ValueError as error:
            raise ValueError(f"{head}: {error}") from None
    return tuple(pairs)


def plain_weights(weights: Weights) -> Any:
    """Return weights as plain data, which `read_weights` reads back."""
    return dict(weights) if isinstance(weights, tuple) else weights
