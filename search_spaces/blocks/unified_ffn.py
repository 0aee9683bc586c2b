"""EfficientFormerV2's block without attention (Li et al. 2023, arXiv 2212.08059, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.fields import Place
from nas.registry import kind
from search_spaces.blocks.conv import Conv, entry
from search_spaces.blocks.msca import MlpRatio


class UnifiedFeedForward(nn.Module):
    """1x1 to C * ratio, depthwise 3x3, 1x1 back: bias and batch norm each, GELU between them."""

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        inner = max(1, round(channels * ratio))
        self.expand = Conv(channels, width=inner, kernel=1, bias=True, act="gelu")
        self.depthwise = Conv(inner, width=inner, groups=inner, bias=True, act="gelu")
        self.project = Conv(inner, width=channels, kernel=1, bias=True, act="none")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return y


def layer_scale(channels: int) -> nn.Parameter:
    """Return a learned scale per channel, 0.01 at the start, so that a block of a short training is not idle."""
    return nn.Parameter(torch.full((channels, 1, 1), 0.01))


@kind("unified_ffn", "cell")
class UnifiedFfn(nn.Module):
    """x + s * FFN(x): 1x1, depthwise 3x3, 1x1, with one learned scale per channel.

    The scale starts at 0.01 (the authors' code: 1e-5). A change of width or stride is made by a 3x3 convolution and
    batch norm in front, as between EfficientFormerV2's stages.
    """

    def __init__(
        self, channels: int, *, width: Place[int], stride: Place[int] = 1, mlp: MlpRatio = 4
    ) -> None:
        super().__init__()
        self.entry = entry(channels, width, stride)
        self.mlp = UnifiedFeedForward(width, mlp)
        self.scale = layer_scale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        y: Tensor = x + self.scale * self.mlp(x)
        return y
