"""ResNet's two blocks (He et al. 2016)."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from nas.fields import Place, Positive, Range
from nas.registry import kind
from search_spaces.blocks.conv import Act, Conv, activation

Reduction = Annotated[float, Range(least=1, most=64)]


def shortcut(channels: int, width: int, stride: int) -> nn.Module:
    """Return the identity where shapes agree, else a strided 1x1 convolution with batch norm (option B)."""
    if channels == width and stride == 1:
        return nn.Identity()
    return Conv(channels, width=width, stride=stride, kernel=1, act="none")


@kind("basic", "cell")
class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut; `dilation` applies to both (the a trous form of a removed stride).

    `linear` leaves the sum without its activation, for what reads it before and after one (DDRNet).
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        dilation: Positive = 1,
        act: Act = "relu",
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = Conv(channels, width=width, stride=stride, dilation=dilation, act=act)
        self.conv2 = Conv(width, width=width, dilation=dilation, act="none")
        self.shortcut = shortcut(channels, width, stride)
        self.act = activation("none" if linear else act)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.conv2(self.conv1(x)) + self.shortcut(x))
        return y


@kind("bottleneck", "cell")
class Bottleneck(nn.Module):
    """1x1 to width / reduction, 3x3, 1x1 to width, beside a shortcut; the stride sits in the 3x3 (v1.5).

    `linear` leaves the sum without its activation.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        reduction: Reduction = 4,
        dilation: Positive = 1,
        act: Act = "relu",
        linear: bool = False,
    ) -> None:
        super().__init__()
        inner = max(1, round(width / reduction))
        self.conv1 = Conv(channels, width=inner, kernel=1, act=act)
        self.conv2 = Conv(inner, width=inner, stride=stride, dilation=dilation, act=act)
        self.conv3 = Conv(inner, width=width, kernel=1, act="none")
        self.shortcut = shortcut(channels, width, stride)
        self.act = activation("none" if linear else act)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))
        return y
