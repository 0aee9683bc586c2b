"""Semantic flow: a coarse feature is sampled where a learned flow says (SFNet, Li et al. 2020; SFNet-Lite, 2023)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Odd
from nas.registry import kind

Gate = Literal["pooled", "conv"]


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Sample x (N, C, h, w) bilinearly at every pixel of flow's map, moved by flow (N, 2, H, W): right, then down.

    A flow of 2 is one pixel of the result. Without flow it is bilinear resizing (align_corners=False), and beyond the
    border the border's value holds; the official code has align_corners=True, and zeros there.
    """
    return sampled(x, moved_grid(flow))


def moved_grid(flow: Tensor) -> Tensor:
    """Return where the pixels of a map lie, -1 to 1, moved by flow (..., 2, H, W): (..., H, W, 2), right, then down.

    The grid is fp32: half precision is off by whole pixels on a map of 1,000.
    """
    height, width = flow.shape[-2:]
    rows = (2 * torch.arange(height, device=flow.device, dtype=torch.float32) + 1) / height - 1
    columns = (2 * torch.arange(width, device=flow.device, dtype=torch.float32) + 1) / width - 1
    moved = flow.float()
    across = columns + moved[..., 0, :, :] / width
    down = rows.unsqueeze(1) + moved[..., 1, :, :] / height
    return torch.stack((across, down), dim=-1)


def sampled(x: Tensor, grid: Tensor) -> Tensor:
    """Return x (N, C, h, w) bilinearly at the places of a grid (N, H, W, 2)."""
    y = F.grid_sample(x.float(), grid, "bilinear", "border", align_corners=False)
    return y.to(x.dtype)


class FromBoth(nn.Module):
    """A convolution of the concatenation of two features: one weight for each."""

    def __init__(self, channels: int, width: int, kernel: int, *, bias: bool = False) -> None:
        super().__init__()
        self.low = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=bias)
        self.high = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        y: Tensor = self.low(low) + self.high(high)
        return y


class Halved(nn.Module):
    """Both features by a 1x1 to half their channels, and the coarse one at the size of the fine one."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(channels) != 2 or channels[0] != channels[1]:
            raise ValueError(
                f"flow alignment takes a fine and a coarse feature of equal channels, got {list(channels)}; "
                "project them to one width first"
            )
        self.width = max(1, channels[0] // 2)
        self.low = nn.Conv2d(channels[0], self.width, 1, bias=False)
        self.high = nn.Conv2d(channels[1], self.width, 1, bias=False)

    def forward(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        size = low.shape[-2:]
        raised = F.interpolate(self.high(high), size=size, mode="bilinear", align_corners=False)
        return self.low(low), raised


@kind("flow_align", "part")
class FlowAlign(nn.Module):
    """Flow alignment module: (fine, coarse) to the coarse feature at the fine one's size, warped.

    SFNet, section 3.2. Params: c^2 + 18c with a 3x3 flow. The lateral is added by the caller, as in the official code.
    """

    def __init__(self, channels: tuple[int, ...], *, kernel: Odd = 3) -> None:
        super().__init__()
        self.halved = Halved(channels)
        self.flow = FromBoth(self.halved.width, 2, kernel)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        return warp(high, self.flow(*self.halved(low, high)))


@kind("dual_flow_align", "part")
class DualFlowAlign(nn.Module):
    """Gated dual flow alignment: g * warp(coarse, flow_1) + (1 - g) * warp(fine, flow_2) at the fine one's size.

    SFNet-Lite, section 3.3. The gate is a sigmoid of a 3x3: with `pooled` on four maps, the mean and the maximum over
    channels of the halved coarse and of the fine feature, params c^2 + 36c + 36; with `conv` on both halved features,
    params c^2 + 45c.
    """

    def __init__(
        self, channels: tuple[int, ...], *, kernel: Odd = 3, gate: Gate = "pooled"
    ) -> None:
        super().__init__()
        self.halved = Halved(channels)
        self.flow = FromBoth(self.halved.width, 4, kernel)
        self.pooled = gate == "pooled"
        self.gate = (
            nn.Conv2d(4, 1, kernel, padding=kernel // 2, bias=False)
            if self.pooled
            else FromBoth(self.halved.width, 1, kernel)
        )

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        fine, coarse = self.halved(low, high)
        flow = self.flow(fine, coarse)
        score = self.gate(described(coarse, low)) if self.pooled else self.gate(fine, coarse)
        share: Tensor = score.sigmoid()
        return share * warp(high, flow[:, :2]) + (1 - share) * warp(low, flow[:, 2:])


def described(high: Tensor, low: Tensor) -> Tensor:
    """Return the mean over channels of both, then the maximum of both: (N, 4, H, W)."""
    means = [x.mean(1, keepdim=True) for x in (high, low)]
    return torch.cat([*means, *[x.amax(1, keepdim=True) for x in (high, low)]], dim=1)
