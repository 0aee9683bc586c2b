"""Auto-DeepLab's operations (Liu et al. 2019, section 3.1): each begins with its own ReLU, if it has one.

What passes between cells is the sum of batch norms, before any activation. As in the authors' code; batch norm has
PyTorch's momentum and epsilon (theirs: 3e-4 and 1e-3).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Odd, Place, Positive
from nas.layered import Layered, layers_of
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Conv

RELU = nn.ReLU()


@kind("relu_conv", "cell")
class ReluConv(Layered):
    """ReLU, convolution, batch norm; params kernel^2 * C * width + 2 * width."""

    def __init__(
        self, channels: int, *, width: Place[int], stride: Place[int] = 1, kernel: Odd = 3
    ) -> None:
        super().__init__()
        self.conv = Conv(channels, width=width, stride=stride, kernel=kernel, act="none")

    def layers(self) -> tuple[nn.Module, ...]:
        return layers_of(RELU, self.conv)


@kind("double_separable", "cell")
class DoubleSeparable(Layered):
    """Twice ReLU, depthwise kxk, 1x1, batch norm; the stride is in the first depthwise."""

    def __init__(
        self, channels: int, *, width: Place[int], stride: Place[int] = 1, kernel: Odd = 3
    ) -> None:
        super().__init__()
        self.first = _separable(channels, width, stride, kernel)
        self.second = _separable(width, width, 1, kernel)

    def layers(self) -> tuple[nn.Module, ...]:
        return layers_of(RELU, *self.first, RELU, *self.second)


def _separable(channels: int, width: int, stride: int, kernel: int) -> nn.Sequential:
    """Depthwise, 1x1, batch norm: none between the convolutions."""
    depthwise = nn.Conv2d(
        channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False
    )
    return nn.Sequential(depthwise, Conv(channels, width=width, kernel=1, act="none"))


@kind("atrous", "cell")
class Atrous(Layered):
    """ReLU, dense convolution of dilation `rate`, batch norm; with a stride, bilinear to that size and no dilation."""

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        kernel: Odd = 3,
        rate: Positive = 2,
    ) -> None:
        super().__init__()
        self.shrink = Shrink(stride) if stride > 1 else nn.Identity()
        dilation = rate if stride == 1 else 1
        self.conv = Conv(channels, width=width, kernel=kernel, dilation=dilation, act="none")

    def layers(self) -> tuple[nn.Module, ...]:
        return layers_of(RELU, self.shrink, self.conv)


class Shrink(nn.Module):
    """Bilinear to ceil(size / every)."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def forward(self, x: Tensor) -> Tensor:
        size = [(n - 1) // self.every + 1 for n in x.shape[-2:]]
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


@kind("pool", "cell")
class Pool(Layered):
    """Average or maximum over kernel x kernel windows, padding not counted; 1x1 and batch norm where widths differ."""

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        take: Literal["average", "maximum"],
        kernel: Odd = 3,
    ) -> None:
        super().__init__()
        self.pool: nn.Module = nn.MaxPool2d(kernel, stride, kernel // 2)
        if take == "average":
            self.pool = nn.AvgPool2d(kernel, stride, kernel // 2, count_include_pad=False)
        same = channels == width
        self.fit = nn.Identity() if same else Conv(channels, width=width, kernel=1, act="none")

    def layers(self) -> tuple[nn.Module, ...]:
        return layers_of(self.pool, self.fit)


@kind("skip", "cell")
class Skip(Layered):
    """The identity; with a stride or another width ReLU, 1x1, batch norm."""

    passes_on: ClassVar = True

    def __init__(self, channels: int, *, width: Place[int], stride: Place[int] = 1) -> None:
        super().__init__()
        same = channels == width and stride == 1
        self.fit = (
            nn.Identity() if same else ReluConv(channels, width=width, stride=stride, kernel=1)
        )

    def layers(self) -> tuple[nn.Module, ...]:
        return layers_of(self.fit)


@kind("zero", "cell")
def zero(net: Net, x: Feature, *, width: Place[int], stride: Place[int] = 1) -> Feature:
    """No connection: what adds up its inputs leaves this one out."""
    return net.nothing(x._replace(channels=width, stride=x.stride * stride))
