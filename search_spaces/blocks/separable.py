"""Depthwise-separable convolutions: DeepLab's form and BiFPN's."""

from __future__ import annotations

from torch import Tensor, nn

from nas.fields import Odd, Place, Positive
from nas.layered import Layered, layers_of
from nas.registry import kind
from search_spaces.blocks.conv import Act, Conv, activation


@kind("separable", "cell")
class Separable(Layered):
    """Depthwise kxk, BN, activation, then 1x1, BN, activation (DeepLabv3+, section 3.1; Chollet 2017).

    (N, C, H, W) to (N, width, ceil(H / stride), ceil(W / stride)). Without `between` there is no activation after the
    depthwise one (Fast-SCNN).
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        kernel: Odd = 3,
        dilation: Positive = 1,
        act: Act = "relu",
        between: bool = True,
    ) -> None:
        super().__init__()
        self.depthwise = Conv(
            channels,
            width=channels,
            stride=stride,
            kernel=kernel,
            dilation=dilation,
            groups=channels,
            act=act if between else "none",
        )
        self.pointwise = Conv(channels, width=width, kernel=1, act=act)

    def layers(self) -> tuple[nn.Module, ...]:
        return layers_of(self.depthwise, self.pointwise)


@kind("bifpn_conv", "part")
class BifpnConv(nn.Module):
    """Swish, depthwise 3x3, 1x1 with bias, BN: what follows the weighted sum in a BiFPN node (EfficientDet).

    Params: 9C + C * width + 3 * width. The bias in front of the batch norm is the official code's.
    """

    def __init__(
        self, channels: int, *, width: Place[int], kernel: Odd = 3, act: Act = "silu"
    ) -> None:
        super().__init__()
        self.act = activation(act)
        self.depthwise = nn.Conv2d(
            channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False
        )
        self.pointwise = Conv(channels, width=width, kernel=1, bias=True, act="none")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise(self.depthwise(self.act(x)))
        return y
