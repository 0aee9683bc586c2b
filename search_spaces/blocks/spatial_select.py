"""IncepFormer's spatial selection (Fu et al. 2022; in its code since the second version)."""

from __future__ import annotations

from torch import Tensor, nn

from nas.registry import kind


@kind("spatial_select", "part")
class SpatialSelect(nn.Module):
    """x + x * SiLU(m), with m the mean of x (N, C, H, W) over its channels: strong pixels get stronger. No weights."""

    def __init__(self, channels: int) -> None:  # noqa: ARG002
        super().__init__()
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.act(x.mean(1, keepdim=True))
        return x + x * gate
