"""What fuses two levels in S2-FPN's pyramid (Elhassan et al. 2022), layers as in the first version of its code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Positive
from nas.registry import kind
from search_spaces.blocks.conv import Dropout


class StripAttention(nn.Module):
    """Scale-aware strip attention: relu(g * o + (1 - g) * x), with o the same along every column.

    Of each column's maximum m and mean a, both through one 1x1 and a batch norm of their own, softmax(m * a) over the
    channels gives two shares, its first two channels: o = W(share_0 * a + share_1 * m). The share g of the attention,
    learned, starts at 0.01 (the authors' code: 0). (N, C, H, W) to the same, C at least 2. Params: 2C^2 + 4C + 1.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        if channels < 2:
            raise ValueError(f"strip attention: two channels at least are needed, got {channels}")
        self.strip = nn.Conv2d(channels, channels, 1, bias=False)
        self.norms = nn.ModuleDict({name: nn.BatchNorm2d(channels) for name in ("most", "mean")})
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        self.dropout = dropout
        self.share = nn.Parameter(torch.tensor(0.01))

    def strips(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return maximum and mean of each column, (N, C, 1, W)."""
        most = self.norms["most"](self.strip(x.amax(2, keepdim=True)))
        mean = self.norms["mean"](self.strip(x.mean(2, keepdim=True)))
        return most, mean

    def forward(self, x: Tensor) -> Tensor:
        most, mean = self.strips(x)
        shares = (most * mean).softmax(dim=1)
        found = self.mix(shares[:, :1] * mean + shares[:, 1:2] * most)
        found = F.dropout(found, self.dropout, self.training)
        y: Tensor = self.share * found + (1 - self.share) * x
        return y.relu()


class ChannelReweighting(nn.Module):
    """x * sigmoid(W2 relu(W1 mean(x))), C / reduction channels between, no biases. Params: 2C^2 / reduction."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.squeeze = nn.Conv2d(channels, inner, 1, bias=False)
        self.excite = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu())
        return x * gate.sigmoid()


@kind("attention_fusion", "part")
class AttentionFusion(nn.Module):
    """S(f) * high + R(f) * low: strip attention weighs what comes from above, channel reweighting the level's own.

    Inputs: f, what both say together, then the coarse feature and the fine one, all of one shape.
    """

    def __init__(
        self, channels: tuple[int, ...], *, reduction: Positive = 4, dropout: Dropout = 0.15
    ) -> None:
        super().__init__()
        if len(channels) != 3 or len(set(channels)) != 1:
            raise ValueError(
                f"attention_fusion takes three features of equal channels, got {list(channels)}; "
                "bring them to one width first"
            )
        self.spatial = StripAttention(channels[0], dropout)
        self.channel = ChannelReweighting(channels[0], reduction)

    def forward(self, both: Tensor, high: Tensor, low: Tensor) -> Tensor:
        y: Tensor = self.spatial(both) * high + self.channel(both) * low
        return y
