"""SegFormer's block: attention with sequence reduction, and a feed-forward part that mixes neighbours."""

from __future__ import annotations

from torch import Tensor, nn

from nas.fields import Place, Positive
from nas.registry import kind
from search_spaces.blocks.attention import AttentionBlock, TokenAttention, as_tokens, padded
from search_spaces.blocks.conv import entry
from search_spaces.blocks.msca import FeedForward, MlpRatio
from search_spaces.blocks.norms import ChannelNorm


class SequenceReduction(nn.Module):
    """A map to tokens, one for each R x R pixels: a convolution of size and stride R, and layer norm.

    (N, C, H, W) to (N, ceil(H / R) ceil(W / R), C). The official code leaves out what is over at the right and below.
    """

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.conv = nn.Conv2d(channels, channels, ratio, ratio)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(as_tokens(self.conv(padded(x, self.ratio))))
        return y


@kind("mix_transformer", "cell")
class MixTransformer(AttentionBlock):
    """x + A(LN(x)), then x + FFN(LN(x)): attention to one token per `reduction`^2 pixels; 1x1, depthwise 3x3, 1x1.

    SegFormer (Xie et al. 2021), equations 1 to 3; keys and values of all pixels with `reduction` 1. A change of width
    or stride is made by a 3x3 convolution and batch norm in front.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        heads: Positive = 1,
        reduction: Positive = 1,
        mlp: MlpRatio = 4,
    ) -> None:
        super().__init__()
        self.entry = entry(channels, width, stride)
        self.norm1 = ChannelNorm(width)
        self.reduce = SequenceReduction(width, reduction) if reduction > 1 else None
        self.attention = TokenAttention(width, heads)
        self.norm2 = ChannelNorm(width)
        self.mlp = FeedForward(width, mlp)
