"""Concatenation of blocks of one width, of which some may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from nas.registry import kind


@kind("stack", "part")
class Stack(nn.Module):
    """Features of one shape along the channels; at the places `missing`, counted from 0, stand zeros of that shape.

    So a cell with a block that gets no input is as wide as any other: what reads it has weights of the same shapes.
    """

    takes_what_is_there: ClassVar = True
    """While several architectures are mixed, zeros may stand for any input, whose shape is that of the others."""

    def __init__(self, channels: tuple[int, ...], *, missing: Sequence[int] = ()) -> None:
        super().__init__()
        self.count, self.missing = len(channels) + len(missing), frozenset(missing)
        if len(set(channels)) != 1 or not self.missing <= set(range(self.count)):
            raise ValueError(
                f"stack needs inputs of one width and missing places below {self.count}, got {list(channels)} and "
                f"{list(missing)}"
            )

    def forward(self, *xs: Tensor) -> Tensor:
        rest, zeros = iter(xs), torch.zeros_like(xs[0]) if self.missing else xs[0]
        return torch.cat([zeros if i in self.missing else next(rest) for i in range(self.count)], 1)
