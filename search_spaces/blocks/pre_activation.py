"""Batch norm and activation in front of a convolution (He et al. 2016, identity mappings), as in DDRNet's context."""

from __future__ import annotations

from torch import Tensor, nn

from nas.fields import Odd, Place
from nas.registry import kind
from search_spaces.blocks.conv import Act, StridedConv, activation
from search_spaces.blocks.pooling import adaptive_average


@kind("pre_conv", "cell")
class PreConv(nn.Module):
    """Batch norm, activation, convolution without bias: params 2C + k * k * C * width.

    (N, C, H, W) to (N, width, ceil(H / stride), ceil(W / stride)). The sum of several is one of their concatenation.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        kernel: Odd = 3,
        act: Act = "relu",
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.act = activation(act)
        self.conv = StridedConv(channels, width, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.act(self.norm(x)))
        return y


@kind("pooled_pre_conv", "part")
class PooledPreConv(nn.Module):
    """Average over the image, batch norm, activation, 1x1 convolution, the same at every pixel.

    In training the batch norm needs two images, as in `pooled_conv`.
    """

    def __init__(self, channels: int, *, width: Place[int], act: Act = "relu") -> None:
        super().__init__()
        self.conv = PreConv(channels, width=width, kernel=1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(adaptive_average(x, 1))
        return y.expand(-1, -1, x.shape[2], x.shape[3])
