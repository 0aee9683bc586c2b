"""What one leaf allocates in evaluation, from a run on the meta device, remembered by the leaf."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from nas.allocations import Allocations, storage_key
from nas.leaf import Leaf, identity
from nas.node_cache import remembered
from nas.scratch import is_channels_last, rules


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a network is run: images in a batch, layout of images and weights, and whose kernels ("cpu", "cuda")."""

    batch: int = 1
    channels_last: bool = False
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class LeafMemory:
    """Bytes of one evaluation of a leaf in fp32.

    `peak` is the most that it holds beyond its inputs and weights, output included; `output` what stays of it; `shares`
    the input whose storage the output is (an identity, a view), -1 where it has its own; `channels_last` is 1 or 0.
    """

    peak: int
    output: int
    shares: int
    channels_last: int


def leaf_memory(leaf: Leaf, layouts: tuple[bool, ...], conditions: Conditions) -> LeafMemory:
    """Return what `leaf` allocates; `layouts` says which of its inputs are channels last."""
    key = (layouts, conditions)
    if key not in leaf.memory:
        whole = (identity(leaf.fields, leaf.inputs, leaf.names), layouts, astuple(conditions))
        facts = remembered(leaf.kind, whole, "memory", lambda: _run(leaf, layouts, conditions))
        leaf.memory[key] = LeafMemory(*facts)
    known: LeafMemory = leaf.memory[key]
    return known


def _run(
    leaf: Leaf, layouts: tuple[bool, ...], conditions: Conditions
) -> tuple[int, int, int, int]:
    """Run the block once on the meta device, in eval mode; return the fields of a LeafMemory."""
    with torch.device("meta"):
        module = leaf.make().eval()
        if conditions.channels_last:
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inputs = [
            torch.empty(conditions.batch, *shape, memory_format=layout(last))
            for shape, last in zip(leaf.inputs, layouts, strict=True)
        ]
    with torch.no_grad(), Allocations(rules(conditions.device)) as memory:
        output = leaf.call(module, inputs)
    shares = _shared(output, inputs)
    own = output.untyped_storage().nbytes() if shares < 0 else 0
    return memory.most, own, shares, int(is_channels_last(output))


def layout(channels_last: bool) -> torch.memory_format:
    """Return torch's name of a layout."""
    return torch.channels_last if channels_last else torch.contiguous_format


def _shared(output: Tensor, inputs: list[Tensor]) -> int:
    keys = [storage_key(t) for t in inputs]
    key = storage_key(output)
    return keys.index(key) if key in keys else -1


ALONE = Conditions()
"""One image on the CPU, as a network is run that was just built."""
