"""CGRSeg's rectangular self-calibration (Ni et al. 2024, section 3.2), layers as in its code."""

from __future__ import annotations

from torch import Tensor, nn

from nas.fields import Odd
from nas.registry import kind
from search_spaces.blocks.msca import depthwise


@kind("rectangular_attention", "part")
class RectangularAttention(nn.Module):
    """BN(sigmoid(kx1(ReLU(BN(1xk(m))))) * sxs(x)) with m the means of x over rows and over columns, added.

    All depthwise: k = `band` calibrates where the rectangle of a row's and a column's mean lies, s = `square` is the
    local part. (N, C, H, W) to the same. Params: C(s^2 + 1) + 2C(k + 1) + 4C.
    """

    def __init__(self, channels: int, *, band: Odd = 11, square: Odd = 3) -> None:
        super().__init__()
        self.local = depthwise(channels, square, square)
        self.across = depthwise(channels, 1, band)
        self.inner = nn.BatchNorm2d(channels)
        self.down = depthwise(channels, band, 1)
        self.norm = nn.BatchNorm2d(channels)

    def calibration(self, x: Tensor) -> Tensor:
        """Return the share of each pixel, between 0 and 1."""
        rectangle = x.mean(3, keepdim=True) + x.mean(2, keepdim=True)
        y: Tensor = self.down(self.inner(self.across(rectangle)).relu())
        return y.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.calibration(x) * self.local(x))
        return y
