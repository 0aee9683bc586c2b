"""What a field of a kind may hold: written as annotations in the kind's own signature.

A kind says its fields once, in the signature that also builds it:

    def __init__(self, channels: int, *, width: Place[int], kernel: Odd = 3, expand: Ratio = 4.0)

`Place` marks what the surrounding composite decides (a person may not write it); everything else keyword-only
is a field of the language. `validate` reads the same annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `least` to `most`, both allowed; whole multiples of `multiple` if given."""

    least: float | None = None
    most: float | None = None
    multiple: int | None = None


@dataclass(frozen=True, slots=True)
class OddOnly:
    """Whole odd numbers from 1."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One `{kind: fields}` of a kind that is registered for the slot `name`."""

    name: str


@dataclass(frozen=True, slots=True)
class PlaceMarker:
    """The surrounding composite decides this field."""


PLACE = PlaceMarker()
Place = Annotated[T, PLACE]
Positive = Annotated[int, Range(least=1)]
Odd = Annotated[int, OddOnly()]
Ratio = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(least=0, most=1)]
Stride = Literal[1, 2]
PowerOfTwo = Literal[1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
Spec = Mapping[str, Any]

# What composites write, e.g. `op: Cell`; a domain adds slots of its own as Annotated[Spec, Slot("...")].
EncoderSpec = Annotated[Spec, Slot("encoder")]
ContextSpec = Annotated[Spec, Slot("context")]
NeckSpec = Annotated[Spec, Slot("neck")]
HeadSpec = Annotated[Spec, Slot("head")]
CellSpec = Annotated[Spec, Slot("cell")]
