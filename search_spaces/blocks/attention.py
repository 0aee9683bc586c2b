"""Attention of every pixel to a few tokens (Wang et al. 2021; SegFormer, Xie et al. 2021, section 3.1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.blocks.conv import nearest_divisor


def as_tokens(x: Tensor) -> Tensor:
    """Return a map (N, C, H, W) as tokens (N, HW, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def as_map(tokens: Tensor, like: Tensor) -> Tensor:
    """Return tokens (N, HW, C) as a map of the size of `like`."""
    n, _, height, width = like.shape
    return tokens.reshape(n, height, width, tokens.shape[2]).permute(0, 3, 1, 2)


def padded(x: Tensor, cell: int) -> Tensor:
    """Return x with zeros to the right and below, so that windows of `cell` x `cell` side by side lose no pixel.

    Sizes that `cell` divides get as many windows as without.
    """
    return F.pad(x, (0, cell - 1, 0, cell - 1)) if cell > 1 else x


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer as transformers start it: weights from a truncated N(0, 0.02), biases zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


class TokenAttention(nn.Module):
    """W softmax(q k^T / sqrt(d)) v, with q from all pixels (N, P, C), k and v from tokens (N, S, C), in `heads` groups.

    d is the channels of a head. Queries, keys and values have a weight each, with bias. Params: 4C^2 + 4C.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(
                f"attention: heads must divide the width, got {heads} heads and width {channels}; "
                f"nearest: {nearest_divisor(channels, heads)}"
            )
        self.heads = heads
        self.query = linear(channels, channels)
        self.key = linear(channels, channels)
        self.value = linear(channels, channels)
        self.project = linear(channels, channels)

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        query = self._by_head(self.query(pixels))
        key, value = self._by_head(self.key(tokens)), self._by_head(self.value(tokens))
        found = F.scaled_dot_product_attention(query, key, value)
        y: Tensor = self.project(found.transpose(1, 2).flatten(2))
        return y

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, P, C) to (N, heads, P, C / heads)."""
        n, length, channels = x.shape
        return x.reshape(n, length, self.heads, channels // self.heads).transpose(1, 2)


class AttentionBlock(nn.Module):
    """x + A(norm1(x)), then x + mlp(norm2(x)): what transformers of maps share; (N, C, H, W) throughout.

    Subclasses make the parts. `reduce` turns a map into tokens; without it there is one for every pixel.
    """

    entry: nn.Module
    norm1: nn.Module
    reduce: nn.Module | None
    attention: TokenAttention
    norm2: nn.Module
    mlp: nn.Module

    def attend(self, x: Tensor) -> Tensor:
        """Return what attention adds to x (N, C, H, W)."""
        normed = self.norm1(x)
        pixels = as_tokens(normed)
        tokens = pixels if self.reduce is None else self.reduce(normed)
        return as_map(self.attention(pixels, tokens), x)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.entry(x)
        y = y + self.attend(y)
        z: Tensor = y + self.mlp(self.norm2(y))
        return z
