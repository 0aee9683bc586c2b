"""EfficientFormerV2's attention (Li et al. 2023, arXiv 2212.08059, sections 3.2 and 3.3), layers as in its code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Place, Positive
from nas.registry import kind
from search_spaces.blocks.attention import as_map
from search_spaces.blocks.conv import Conv, entry
from search_spaces.blocks.msca import MlpRatio
from search_spaces.blocks.unified_ffn import UnifiedFeedForward, layer_scale

VALUE = 4
"""Channels of a value per channel of a key."""


def offsets(queries: int, keys: int, step: int, device: torch.device) -> Tensor:
    """Return |step * i - j| (queries, keys), which is below `keys` if there are ceil(keys / step) queries."""
    at = step * torch.arange(queries, device=device).unsqueeze(1)
    return (at - torch.arange(keys, device=device)).abs()


class OffsetBias(nn.Module):
    """A score for each head and each distance, down and across, between a query and a key.

    The table is learned for maps of grid x grid keys. On another map it is resized bilinearly to that map's size, so
    that the bias at half the height and the whole width stays the same; the authors' code resizes the matrix of all
    queries and keys, in which rows and columns are mixed.
    """

    def __init__(self, heads: int, grid: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(heads, grid, grid))

    def forward(self, queries: Tensor, keys: Tensor, step: int) -> Tensor:
        """Return (heads, P, S) for maps of P queries and S keys, of which a query takes every `step`-th place."""
        height, width = keys.shape[-2:]
        whole = self.table.unsqueeze(0)
        table = F.interpolate(whole, size=(height, width), mode="bilinear", align_corners=False)[0]
        down = offsets(queries.shape[2], height, step, table.device)
        across = offsets(queries.shape[3], width, step, table.device)
        bias = table[:, down][..., across]  # heads, query row, key row, query column, key column
        return bias.transpose(2, 3).flatten(3).flatten(1, 2)


class TalkingHeads(nn.Module):
    """Softmax over keys, with a learned mixture of the heads before and after it (Shazeer et al. 2020)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.before = nn.Conv2d(heads, heads, 1)
        self.after = nn.Conv2d(heads, heads, 1)

    def forward(self, scores: Tensor) -> Tensor:
        y: Tensor = self.after(self.before(scores).softmax(dim=-1))
        return y


class GridAttention(nn.Module):
    """softmax(q k^T / sqrt(d) + bias) v + depthwise 3x3(v), of `heads` heads with keys of d = `key` channels.

    Queries (N, heads * key, h, w) and the map x (N, C, H, W) to (N, heads * 4 key, h, w), where h = ceil(H / step).
    """

    def __init__(
        self, channels: int, *, heads: int, key: int, grid: int, step: int = 1, talking: bool = True
    ) -> None:
        super().__init__()
        self.heads, self.step, self.scale = heads, step, key**-0.5
        self.width = VALUE * key * heads
        self.key = linear(channels, heads * key)
        self.value = linear(channels, self.width)
        self.local = Conv(
            self.width, width=self.width, stride=step, groups=self.width, bias=True, act="none"
        )
        self.bias = OffsetBias(heads, grid)
        self.weigh: nn.Module = TalkingHeads(heads) if talking else nn.Softmax(dim=-1)

    def weights(self, query: Tensor, x: Tensor) -> Tensor:
        """Return what each query takes of each key, (N, heads, P, S)."""
        scores = self._by_head(query).mT @ self._by_head(self.key(x)) * self.scale
        y: Tensor = self.weigh(scores + self.bias(query, x, self.step))
        return y

    def forward(self, query: Tensor, x: Tensor) -> Tensor:
        value = self.value(x)
        near: Tensor = self.local(value)
        found = self.weights(query, x) @ self._by_head(value).mT  # N, heads, P, d
        return near + as_map(found.transpose(1, 2).flatten(2), near)

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, heads, C / heads, HW)."""
        n, channels, height, width = x.shape
        return x.reshape(n, self.heads, channels // self.heads, height * width)


def linear(channels: int, width: int) -> Conv:
    """Return a 1x1 convolution with bias and batch norm."""
    return Conv(channels, width=width, kernel=1, bias=True, act="none")


@kind("grid_attention", "cell")
class GridAttentionBlock(nn.Module):
    """x + s1 * A(x), then x + s2 * FFN(x): attention of every pixel to every pixel, with a bias by their distance.

    With `shrink` attention is at half the resolution, resized back (section 3.2). `grid` is the map's side, after
    shrinking, for which distances are learned. Scales start at 0.01 (the authors' code: 1e-5). A change of width or
    stride is made by a 3x3 convolution and batch norm in front.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        heads: Positive = 8,
        key: Positive = 32,
        grid: Positive = 16,
        shrink: bool = False,
        mlp: MlpRatio = 4,
    ) -> None:
        super().__init__()
        self.entry = entry(channels, width, stride)
        self.shrink: nn.Module | None = None
        if shrink:
            self.shrink = Conv(width, width=width, stride=2, groups=width, bias=True, act="none")
        self.query = linear(width, heads * key)
        self.attention = GridAttention(width, heads=heads, key=key, grid=grid)
        self.act = nn.GELU()
        self.project = linear(self.attention.width, width)
        self.mlp = UnifiedFeedForward(width, mlp)
        self.scale1, self.scale2 = layer_scale(width), layer_scale(width)

    def attend(self, x: Tensor) -> Tensor:
        """Return what attention adds to x (N, C, H, W), before its scale."""
        small = x if self.shrink is None else self.shrink(x)
        found = self.attention(self.query(small), small)
        if self.shrink is not None:
            found = F.interpolate(found, size=x.shape[-2:], mode="bilinear", align_corners=False)
        y: Tensor = self.project(self.act(found))
        return y

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.entry(x)
        y = y + self.scale1 * self.attend(y)
        z: Tensor = y + self.scale2 * self.mlp(y)
        return z


@kind("attention_down", "part")
class AttentionDown(nn.Module):
    """A(x) + 3x3(x) at half the resolution: queries are every second pixel and its surroundings (section 3.3).

    (N, C, H, W) to (N, width, ceil(H / 2), ceil(W / 2)). Queries are a 1x1 of x[::2] plus a strided depthwise 3x3; keys
    and values are of all pixels. `grid` is the input's side for which distances are learned.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 2,
        heads: Positive = 8,
        key: Positive = 16,
        grid: Positive = 32,
    ) -> None:
        super().__init__()
        self.every = stride
        self.near = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels)
        self.query = linear(channels, heads * key)
        self.attention = GridAttention(
            channels, heads=heads, key=key, grid=grid, step=stride, talking=False
        )
        self.act = nn.GELU()
        self.project = linear(self.attention.width, width)
        self.conv = Conv(channels, width=width, stride=stride, bias=True, act="none")

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(self.near(x) + x[:, :, :: self.every, :: self.every])
        far = self.project(self.act(self.attention(query, x)))
        y: Tensor = far + self.conv(x)
        return y
