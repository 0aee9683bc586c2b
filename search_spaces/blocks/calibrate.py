"""A fine feature weighed by a coarse one (SeaFormer's and CGRSeg's fusion of details with meaning)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nas.registry import kind


@kind("calibrate", "part")
class Calibrate(nn.Module):
    """x * up(hard_sigmoid(g)), bilinear to x's size; inputs: x and g, of equal channels, g of any size."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(channels) != 2 or channels[0] != channels[1]:
            raise ValueError(
                f"calibrate takes a fine feature and a coarse one of equal channels, got {list(channels)}; "
                "project both to one width first"
            )

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        share = F.hardsigmoid(gate)
        return x * F.interpolate(share, size=x.shape[-2:], mode="bilinear", align_corners=False)
