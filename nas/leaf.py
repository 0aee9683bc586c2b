"""Leaves of a plan: which block, with which fields, on which shapes, and what one meta-device run says of it."""

from __future__ import annotations

import inspect
import marshal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from nas.meter import Meter
from nas.node_cache import remembered
from nas.parts import Demand
from nas.registry import Kind

Form = Literal["one", "many", "named"]
Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False, slots=True)
class Leaf:
    """A block with its fields on inputs of known shape.

    `key` is the leaf's identity apart from sizes; `inputs` and `shape`, its output, are (C, H, W), `macs`
    its multiply-adds, `params` its parameters, `memory` what `nas.leaf_memory` found out about it.
    """

    kind: Kind
    fields: Mapping[str, Any]
    inputs: tuple[Shape, ...]
    names: tuple[str, ...] | None
    key: bytes
    shape: Shape
    macs: int
    params: int
    memory: dict[Any, Any] = field(default_factory=dict)
    demands: dict[int, Demand] = field(default_factory=dict)

    def demand(self, needed: int) -> Demand:
        """Return what its output takes, as `Part.demand` does; a leaf needs all of its inputs."""
        every = tuple(range(len(self.inputs)))
        return self.demands.setdefault(needed, Demand(self.macs, self.params, every, ()))

    def make(self) -> nn.Module:
        """Build the block, with weights of its own."""
        return make(self.kind, self.fields, tuple(shape[0] for shape in self.inputs), self.names)

    def call(self, module: nn.Module, inputs: list[Tensor]) -> Tensor:
        """Run `module` on its inputs, (N, C, H, W) each, in the form that its signature asks for."""
        return _call(module, form(self.kind.make), self.names, inputs)


@cache
def form(make: Any) -> Form:
    """Say how a block takes its inputs: by the annotation of its first parameter (int, tuple or dict)."""
    first = next(p for p in inspect.signature(make).parameters.values())
    annotation = get_type_hints(make.__init__)[first.name]
    return {tuple: "many", dict: "named"}.get(get_origin(annotation) or annotation, "one")  # type: ignore[return-value]


def make(
    kind: Kind, fields: Mapping[str, Any], channels: tuple[int, ...], names: tuple[str, ...] | None
) -> nn.Module:
    """Build one block. Raises ValueError or TypeError where its fields and inputs do not fit."""
    match form(kind.make):
        case "one":
            if len(channels) != 1:
                raise ValueError(f"takes one input, got {len(channels)}")
            return kind.make(channels[0], **fields)  # type: ignore[no-any-return]
        case "many":
            return kind.make(channels, **fields)  # type: ignore[no-any-return]
        case _:
            if names is None:
                raise ValueError("takes named inputs: pass one dict of features")
            return kind.make(dict(zip(names, channels, strict=True)), **fields)  # type: ignore[no-any-return]


def identity(
    fields: Mapping[str, Any], inputs: tuple[Shape, ...], names: tuple[str, ...] | None
) -> tuple[Any, ...]:
    """Return what tells leaves of one kind apart, as plain data: the key of what is remembered of them."""
    return sorted(fields.items()), inputs, names


def leaf_of(
    kind: Kind, fields: Mapping[str, Any], inputs: tuple[Shape, ...], names: tuple[str, ...] | None
) -> Leaf:
    """Return the leaf as it was measured, now or by the same code in an earlier process."""
    given = identity(fields, inputs, names)
    facts = remembered(kind, given, "cost", lambda: _run(kind, fields, inputs, names))
    return _leaf(kind, fields, inputs, names, facts=facts)


def measure(
    kind: Kind, fields: Mapping[str, Any], inputs: tuple[Shape, ...], names: tuple[str, ...] | None
) -> Leaf:
    """Measure a leaf, whatever was measured before."""
    return _leaf(kind, fields, inputs, names, facts=_run(kind, fields, inputs, names))


def _leaf(
    kind: Kind,
    fields: Mapping[str, Any],
    inputs: tuple[Shape, ...],
    names: tuple[str, ...] | None,
    *,
    facts: Sequence[int],
) -> Leaf:
    channels, height, width, macs, params = facts
    given = tuple(shape[0] for shape in inputs)
    key = marshal.dumps((kind.name, sorted(fields.items()), given, names), 2)
    shape = (channels, height, width)
    return Leaf(kind, fields, inputs, names, key, shape, macs, params)


def _run(
    kind: Kind, fields: Mapping[str, Any], inputs: tuple[Shape, ...], names: tuple[str, ...] | None
) -> tuple[int, int, int, int, int]:
    """Run the block once on the meta device, in eval mode; return (C, H, W) of its output, and what it costs."""
    channels = tuple(shape[0] for shape in inputs)
    with torch.device("meta"):
        module = make(kind, fields, channels, names).eval()
        tensors = [torch.empty(1, *shape) for shape in inputs]
    with torch.no_grad(), Meter() as meter:
        output = _call(module, form(kind.make), names, tensors)
    if not isinstance(output, Tensor) or output.dim() != 4:
        raise ValueError(f"must return one tensor (N, C, H, W), returned {_describe(output)}")
    params = sum(p.numel() for p in module.parameters())
    return output.shape[1], output.shape[2], output.shape[3], meter.macs, params


def _call(
    module: nn.Module, how: Form, names: tuple[str, ...] | None, inputs: list[Tensor]
) -> Tensor:
    match how:
        case "named":
            return module(dict(zip(names or (), inputs, strict=True)))  # type: ignore[no-any-return]
        case _:
            return module(*inputs)  # type: ignore[no-any-return]


def _describe(value: object) -> str:
    return (
        f"a tensor of shape {tuple(value.shape)}"
        if isinstance(value, Tensor)
        else type(value).__name__
    )
