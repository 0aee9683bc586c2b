"""Norms beside batch norm: layer norm over channels, and group norm."""

from __future__ import annotations

from math import gcd
from typing import Annotated

from torch import Tensor, nn

from nas.fields import Range
from nas.registry import kind

Epsilon = Annotated[float, Range(least=1e-12, most=1e-2)]
GROUPS = 32


def group_norm(channels: int) -> nn.GroupNorm:
    """Return group norm with 32 groups, or as many as divide both 32 and the channels."""
    return nn.GroupNorm(gcd(GROUPS, channels), channels)


@kind("channel_norm", "part")
class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W), each pixel by itself."""

    def __init__(self, channels: int, *, eps: Epsilon = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
