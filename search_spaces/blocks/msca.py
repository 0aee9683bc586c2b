"""SegNeXt's block: multi-scale convolutional attention and a convolutional feed-forward (Guo et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from nas.fields import Odd, Place, Range
from nas.registry import kind
from search_spaces.blocks.conv import entry

MlpRatio = Annotated[float, Range(least=0.25, most=16)]


def depthwise(channels: int, height: int, width: int) -> nn.Conv2d:
    """Return a depthwise convolution with bias that keeps the size; kernels are odd."""
    padding = (height // 2, width // 2)
    return nn.Conv2d(channels, channels, (height, width), padding=padding, groups=channels)


class MultiScaleAttention(nn.Module):
    """x * W(a + sum_k kx1(1xk(a))) with a = 5x5(x), all depthwise but the 1x1 W (equation 1).

    Params with strips 7, 11, 21: C^2 + 111C.
    """

    def __init__(self, channels: int, strips: Sequence[int]) -> None:
        super().__init__()
        self.local = depthwise(channels, 5, 5)
        self.strips = nn.ModuleDict(
            {
                f"strip{k}": nn.Sequential(depthwise(channels, 1, k), depthwise(channels, k, 1))
                for k in strips
            }
        )
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        near: Tensor = self.local(x)
        total = near
        for strip in self.strips.values():
            total = total + strip(near)
        gate: Tensor = self.mix(total)
        return gate * x


class SpatialAttention(nn.Module):
    """1x1, GELU, multi-scale attention, 1x1, with a shortcut of its own."""

    def __init__(self, channels: int, strips: Sequence[int]) -> None:
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.act = nn.GELU()
        self.attention = MultiScaleAttention(channels, strips)
        self.after = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.after(self.attention(self.act(self.before(x))))
        return x + y


class FeedForward(nn.Module):
    """1x1 to C * ratio, depthwise 3x3, GELU, 1x1 back."""

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        inner = max(1, round(channels * ratio))
        self.expand = nn.Conv2d(channels, inner, 1)
        self.depthwise = depthwise(inner, 3, 3)
        self.act = nn.GELU()
        self.project = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.act(self.depthwise(self.expand(x))))
        return y


@kind("msca", "cell")
class Msca(nn.Module):
    """x + s1 * SA(BN(x)), then x + s2 * FFN(BN(x)), with one learned scale per channel, 0.01 at the start.

    A change of width or stride is made by a 3x3 convolution and batch norm in front, as between SegNeXt's stages.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        strips: Sequence[Odd] = (7, 11, 21),
        mlp: MlpRatio = 4,
    ) -> None:
        super().__init__()
        self.entry = entry(channels, width, stride)
        self.norm1 = nn.BatchNorm2d(width)
        self.attention = SpatialAttention(width, strips)
        self.norm2 = nn.BatchNorm2d(width)
        self.mlp = FeedForward(width, mlp)
        self.scale1 = nn.Parameter(torch.full((width, 1, 1), 0.01))
        self.scale2 = nn.Parameter(torch.full((width, 1, 1), 0.01))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.entry(x)
        y = y + self.scale1 * self.attention(self.norm1(y))
        z: Tensor = y + self.scale2 * self.mlp(self.norm2(y))
        return z
