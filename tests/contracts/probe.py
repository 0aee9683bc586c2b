"""A leaf as a network on one image: inputs are made by strided 1x1 convolutions, so that any export can drive it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from examples import Example, kinds, leaf_examples, places
from torch import Tensor, nn

from nas.leaf import Leaf, form, measure
from nas.registry import Kind


def ceil(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Size of a feature of this stride."""
    return (size[0] - 1) // stride + 1, (size[1] - 1) // stride + 1


@dataclass(frozen=True)
class Case:
    """One leaf with fields, place and inputs."""

    kind: Kind
    example: Example
    place: dict[str, int]

    def __str__(self) -> str:
        fields = {**self.example.fields, **self.place}
        return f"{self.kind.name}({', '.join(f'{k}={v}' for k, v in fields.items())})".replace(
            " ", ""
        )

    @property
    def stride(self) -> int:
        """Stride of the output."""
        if "to" in self.place:
            return self.place["to"]
        return self.example.inputs[0][1] * self.place.get("stride", 1)

    def leaf(self, size: tuple[int, int], factor: int = 1) -> Leaf:
        """Measured on an image of this size; channels and width times `factor`, the image's three stay."""
        place = {k: v * factor if k == "width" else v for k, v in self.place.items()}
        shapes = tuple(
            (c if s == 1 and c == 3 else c * factor, *ceil(size, s)) for c, s in self.example.inputs
        )
        names = ("near", "far") if form(self.kind.make) == "named" else None
        return measure(self.kind, {**self.example.fields, **place}, shapes, names)

    def network(self, size: tuple[int, int]) -> Probe:
        """The leaf behind what makes its inputs from an image."""
        torch.manual_seed(0)
        return Probe(self.leaf(size), tuple(s for _, s in self.example.inputs))


class Probe(nn.Module):
    """Image (N, 3, H, W) to the leaf's output; an input of three channels at stride 1 is the image itself."""

    def __init__(self, leaf: Leaf, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.spec = leaf
        self.leaf = leaf.make()
        self.inputs = nn.ModuleList(
            nn.Identity() if (c, s) == (3, 1) else nn.Conv2d(3, c, 1, s)
            for (c, _, _), s in zip(leaf.inputs, strides, strict=True)
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.spec.call(self.leaf, [make(image) for make in self.inputs])


def cases() -> Iterator[Case]:
    """Every leaf with each of its examples and places; kinds without an example fail in a test of their own."""
    for kind in kinds():
        if not kind.is_leaf:
            continue
        try:
            examples = leaf_examples(kind)
        except LookupError:
            continue
        for example in examples:
            for place in places(kind, example):
                yield Case(kind, example, place)


class Together(nn.Module):
    """Several probes as one network: their outputs flattened, one after the other (an export takes seconds each)."""

    def __init__(self, probes: list[Probe]) -> None:
        super().__init__()
        self.probes = nn.ModuleList(probes)

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([probe(image).flatten(1) for probe in self.probes], dim=1)


def one_place_each(every: Iterable[Case]) -> Iterator[Case]:
    """The last place of every example."""
    yield from {id(case.example): case for case in every}.values()
