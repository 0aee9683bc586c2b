"""ConvNeXt's block (Liu et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.fields import Odd, Place
from nas.registry import kind
from search_spaces.blocks.conv import entry
from search_spaces.blocks.msca import MlpRatio, depthwise
from search_spaces.blocks.norms import ChannelNorm


@kind("convnext", "cell")
class ConvNext(nn.Module):
    """Depthwise kxk, layer norm over channels, 1x1 to width * mlp, GELU, 1x1, scaled, beside a shortcut.

    A change of width or stride is made by a 3x3 convolution and batch norm in front (the paper: layer norm
    and 2x2, which drops the last row of odd maps). The scale starts at 0.01 (the paper: 1e-6), for short trainings.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        kernel: Odd = 7,
        mlp: MlpRatio = 4,
    ) -> None:
        super().__init__()
        inner = max(1, round(width * mlp))
        self.entry = entry(channels, width, stride)
        self.depthwise = depthwise(width, kernel, kernel)
        self.norm = ChannelNorm(width, eps=1e-6)
        self.expand = nn.Conv2d(width, inner, 1)
        self.act = nn.GELU()
        self.project = nn.Conv2d(inner, width, 1)
        self.scale = nn.Parameter(torch.full((width, 1, 1), 0.01))

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        y: Tensor = self.project(self.act(self.expand(self.norm(self.depthwise(x)))))
        return x + self.scale * y
