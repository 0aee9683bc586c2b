"""IncepFormer's block (Fu et al. 2022, arXiv 2212.03035), as its code has it: tokens made in three ways."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Place, Positive
from nas.registry import kind
from search_spaces.blocks.attention import AttentionBlock, TokenAttention, as_tokens, padded
from search_spaces.blocks.conv import entry
from search_spaces.blocks.msca import FeedForward, MlpRatio, depthwise


def strided_depthwise(channels: int, height: int, width: int) -> nn.Conv2d:
    """Return a depthwise convolution with bias of kernels side by side: its stride is its size."""
    size = (height, width)
    return nn.Conv2d(channels, channels, size, stride=size, groups=channels)


class InceptionTokens(nn.Module):
    """A map to three tokens for each R x R pixels: strip by strip, as a square, and by average; layer norm.

    (N, C, H, W) to (N, 3 ceil(H / R) ceil(W / R), C). Convolutions are depthwise: 1xR then Rx1; RxR; average then 3x3.
    The official code leaves out what is over at the right and below; here zeros fill it up, the average takes it alone.
    """

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.row = strided_depthwise(channels, 1, ratio)
        self.column = strided_depthwise(channels, ratio, 1)
        self.square = strided_depthwise(channels, ratio, ratio)
        self.smooth = depthwise(channels, 3, 3)
        self.norm = nn.LayerNorm(channels)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the three maps (N, C, ceil(H / R), ceil(W / R))."""
        rest = self.ratio - 1
        rows = self.row(F.pad(x, (0, rest, 0, 0)))
        strips = self.column(F.pad(rows, (0, 0, 0, rest)))
        average = F.avg_pool2d(x, self.ratio, ceil_mode=True)
        return [strips, self.square(padded(x, self.ratio)), self.smooth(average)]

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([as_tokens(m) for m in self.maps(x)], dim=1)
        y: Tensor = self.norm(tokens)
        return y


class ActivatedFeedForward(FeedForward):
    """1x1, GELU, depthwise 3x3, GELU, 1x1, GELU: activated after each, the last one too (as in the official code)."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.expand(x))
        y = self.act(self.depthwise(y))
        z: Tensor = self.act(self.project(y))
        return z


@kind("inception_transformer", "cell")
class InceptionTransformer(AttentionBlock):
    """x + A(BN(x)), then x + MLP(BN(x)): attention of every pixel to three tokens per `reduction`^2 pixels.

    Keys and values of all pixels with `reduction` 1. A change of width or stride is made by a 3x3 convolution and batch
    norm in front.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        heads: Positive = 2,
        reduction: Positive = 1,
        mlp: MlpRatio = 4,
    ) -> None:
        super().__init__()
        self.entry = entry(channels, width, stride)
        self.norm1 = nn.BatchNorm2d(width)
        self.reduce = InceptionTokens(width, reduction) if reduction > 1 else None
        self.attention = TokenAttention(width, heads)
        self.norm2 = nn.BatchNorm2d(width)
        self.mlp = ActivatedFeedForward(width, mlp)
