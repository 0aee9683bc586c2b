"""A small domain of the tests' own, so that neither ids nor messages depend on the real blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from nas import registry
from nas.architecture import Architecture
from nas.fields import (
    CellSpec,
    ContextSpec,
    EncoderSpec,
    HeadSpec,
    Odd,
    Place,
    Positive,
    Range,
    Ratio,
    Share,
)
from nas.language.document import read_text
from nas.language.grammar import template_of
from nas.language.validate import validate
from nas.space import Space

HEAD = "task: {semantic: {classes: 4}}\ninput: [3, 64, 128]\n"
MOVES = "{4: [4, 8], 8: [4, 8, 16], 16: [8, 16, 32], 32: [16, 32]}"


class Stage(TypedDict):
    """A record with a key that may be left out."""

    width: Positive
    blocks: list[CellSpec]
    stride: NotRequired[Literal[1, 2]]


class Entry(TypedDict):
    """One entry of a pick."""

    source: str
    op: CellSpec


@dataclass(frozen=True)
class Tap:
    """A record with a default."""

    level: Literal[4, 8, 16]
    weight: float = 0.4


FCN: Mapping[str, Any] = {"fcn": {}}
NO_TAPS: list[Tap] = []
NO_FIELDS: Mapping[str, Any] = {}


def network(
    net: Any,
    *,
    task: Any,
    input: Sequence[int],  # noqa: A002
    encoder: EncoderSpec,
    head: HeadSpec = FCN,
) -> None:
    """The root."""


def stages(net: Any, *, stages: list[Stage], stem: Annotated[int, Range(8, 64, 8)] = 32) -> None:
    """A list of records."""


def trellis(
    net: Any,
    *,
    path: list[Literal[4, 8, 16, 32]],
    cell: list[list[Entry]],
    filters: Positive = 20,
) -> None:
    """A walk, and a pick in a repeat."""


def fcn(
    net: Any,
    *,
    classes: Place[int],
    width: Positive = 64,
    taps: list[Tap] = NO_TAPS,
    pair: tuple[int, str] = (1, "a"),
) -> None:
    """A head."""


def mlp(
    net: Any,
    *,
    classes: Place[int],
    dropout: Share = 0.0,
    name: str = "mlp",
    bias: bool = True,
    context: ContextSpec | None = None,
) -> None:
    """A head with fields of every scalar type."""


def aspp(net: Any, *, rates: tuple[Positive, ...] = (6, 12, 18)) -> None:
    """A context."""


class MBConv:
    """A cell."""

    def __init__(
        self, channels: int, *, width: Place[int], kernel: Odd = 3, expand: Ratio = 4.0
    ) -> None:
        """Fields of three sorts."""


class Free:
    """A cell whose fields are not fixed."""

    def __init__(
        self, channels: int, *, width: Place[int], extra: Mapping[str, Any] = NO_FIELDS
    ) -> None:
        """One free field."""


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace all registered kinds by those above."""
    monkeypatch.setattr(registry, "KINDS", {})
    registry.kind("network", "root")(network)
    registry.kind("stages", "encoder")(stages)
    registry.kind("trellis", "encoder")(trellis)
    registry.kind("fcn", "head")(fcn)
    registry.kind("mlp", "head")(mlp)
    registry.kind("aspp", "context")(aspp)
    registry.kind("mbconv", "cell")(MBConv)
    registry.kind("free", "cell")(Free)
    registry.kind("zero", "cell")(type("Zero", (), {}))


def checked(text: str) -> Space:
    """Return the space of a text that was checked against the kinds above."""
    template, places = template_of(read_text(text, "space.yaml"))
    validate(template, places)
    return Space(template.tree, template.lets, "test", places)


def first(text: str) -> Architecture:
    """Return the first architecture of a space."""
    return next(checked(text).enumerate())
