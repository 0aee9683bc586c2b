"""A residual sum of which one side has a learned scale per channel (Touvron et al. 2021, LayerScale)."""

from __future__ import annotations

from torch import Tensor, nn

from nas.registry import kind
from search_spaces.blocks.unified_ffn import layer_scale


@kind("scaled_sum", "part")
class ScaledSum(nn.Module):
    """x + s * y with a scale s for each channel, 0.01 at the start; inputs: x and y, of one shape."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(channels) != 2 or channels[0] != channels[1]:
            raise ValueError(
                f"scaled_sum takes two features of equal channels, got {list(channels)}; "
                "project the second to the first one's width"
            )
        self.scale = layer_scale(channels[0])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.scale * y
