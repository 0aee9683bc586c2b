"""Partial channels: only a part of an edge's channels goes through its mixture of operations, the others pass by.

PC-DARTS (Xu et al. 2020): with K = 4 the mixture sees a quarter of the channels, which saves most of what training
keeps in memory, and lets operations without weights win less easily. The two parts are put together again by a shuffle,
in which each group of K channels has one that was worked on, so that later edges work on others. As in the authors'
code the part worked on are the first channels; what learns how much an edge counts is `Mixing.edges`.

It is done while planning, for any mixture on a single feature that keeps width and stride (an edge of a cell, a block
of a stage); where a stride or another width is asked for, all channels go through. The operations are then narrower
than those of an architecture: its one-hot score is that of a narrower twin, weights do not carry over, and expected
costs are to be taken from the space's full plan (`Supernet(priced=...)`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import PlanError
from nas.fields import Place
from nas.language.tree import Template
from nas.parts import Feature, Plan
from nas.registry import kind
from nas.relax.planner import LABEL, RelaxedNet, RelaxedPlanner, opened
from nas.relax.ways import Way

RANGE, INTERLEAVE = "channel_range", "interleave"


@kind(RANGE, "part")
class ChannelRange(nn.Module):
    """The channels from `first` up to `last`, which is left out: (N, C, H, W) to (N, last - first, H, W)."""

    def __init__(self, channels: int, *, first: Place[int], last: Place[int]) -> None:
        super().__init__()
        if not 0 <= first < last <= channels:
            raise ValueError(f"no channels {first} to {last} among {channels}")
        self.first, self.last = first, last

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.first : self.last]


@kind(INTERLEAVE, "part")
class Interleave(nn.Module):
    """Features side by side, their channels dealt out: from `groups` equal rows, column by column."""

    def __init__(self, channels: tuple[int, ...], *, groups: Place[int]) -> None:
        super().__init__()
        if sum(channels) % groups:
            raise ValueError(f"{sum(channels)} channels are no {groups} equal groups")
        self.groups = groups

    def forward(self, *xs: Tensor) -> Tensor:
        x = torch.cat(xs, 1)
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)  # type: ignore[no-untyped-call, no-any-return]


class PartialPlanner(RelaxedPlanner):
    """Plans open trees; 1 / `share` of the channels of each edge go through its operations, all of them for 1."""

    def __init__(self, size: tuple[int, int], share: int) -> None:
        super().__init__(size)
        if share < 1:
            raise PlanError(f"partial channels: expected a whole number from 1, got {share}")
        self.share = share


class PartialNet(RelaxedNet):
    """What composites of an open tree draw on, with mixtures of a part of the channels."""

    _inside = False
    """Whether this net is drawing the ways of a mixture that is partial already."""

    def _ways(self, name: str, found: Sequence[Way], inputs: Any, places: Sequence[Any]) -> Any:
        share = self._planner.share  # type: ignore[attr-defined]
        if self._inside or share == 1 or not _is_edge(inputs, places, share):
            return super()._ways(name, found, inputs, places)
        (x,), width = inputs, inputs[0].channels // share
        worked = self.add(f"{name}{LABEL}part", {RANGE: {}}, x, first=0, last=width)
        narrow = [{**place, "width": width} for place in places]
        self._inside = True
        try:
            mixed = super()._ways(name, found, (worked,), narrow)
        finally:
            self._inside = False
        if not isinstance(mixed, Feature) or mixed[:2] != worked[:2] or not mixed.alive:
            return mixed
        rest = self.add(f"{name}{LABEL}rest", {RANGE: {}}, x, first=width, last=x.channels)
        return self.add(f"{name}{LABEL}all", {INTERLEAVE: {}}, mixed, rest, groups=share)


PartialPlanner.net = PartialNet


def narrowed(space: Template, plan: Plan, share: int) -> Plan:
    """Return a space's relaxed plan with partial channels for the size of `plan`; for a share of 1 that plan itself."""
    return plan if share == 1 else PartialPlanner(plan.size, share).plan(opened(space))


def _is_edge(inputs: Any, places: Sequence[Any], share: int) -> bool:
    """Return whether a mixture is on one feature, whose width and stride the composite around it wants kept."""
    if len(inputs) != 1 or not isinstance(inputs[0], Feature) or not inputs[0].alive:
        return False
    channels = inputs[0].channels
    kept = all(p.get("width") == channels and p.get("stride", 1) == 1 for p in places)
    return kept and "to" not in places[0] and channels % share == 0
