"""Convolution, batch norm and activation: what most other blocks are made of; and the classifier."""

from __future__ import annotations

from math import gcd
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from nas.fields import Odd, Place, Positive, Range
from nas.layered import Layered, layers_of
from nas.registry import kind

Act = Literal["relu", "relu6", "hard_swish", "silu", "gelu", "none"]
Dropout = Annotated[float, Range(least=0, most=0.99)]
"""Share of what training leaves out at random; without all of it there would be nothing to learn from."""
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "none": nn.Identity,
}


def activation(name: Act) -> nn.Module:
    """Return a new activation module."""
    return ACTIVATIONS[name]()


class StridedConv(nn.Conv2d):
    """A convolution that goes round two gradients which crash on some CPUs (oneDNN, AVX-512, channels last).

    Where it is 1x1 and strided, every `stride`-th pixel is taken first: the same values, without the gradient that
    writes past its buffers for 8 to 15 input channels. Where it is dilated, autocast on CPUs leaves it in single
    precision: in bf16 the weights' gradient is NaN or crashes, on maps of 31 columns and more.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int,
        stride: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        every = stride if kernel == 1 else 1
        super().__init__(
            channels,
            width,
            kernel,
            stride // every,
            dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.every = every

    def forward(self, x: Tensor) -> Tensor:
        if self.every > 1:
            x = x[:, :, :: self.every, :: self.every]
        if (
            self.dilation == (1, 1)
            or x.device.type != "cpu"
            or not torch.is_autocast_enabled("cpu")
        ):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.to(self.weight.dtype))


@kind("conv", "cell")
class Conv(Layered):
    """Convolution, batch norm, activation.

    (N, C, H, W) to (N, width, ceil(H / stride), ceil(W / stride)). Padding is dilation * (kernel // 2).
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        kernel: Odd = 3,
        dilation: Positive = 1,
        groups: Positive = 1,
        bias: bool = False,
        norm: bool = True,
        act: Act = "relu",
    ) -> None:
        super().__init__()
        if channels % groups or width % groups:
            raise ValueError(
                f"conv: groups must divide the input's channels and the width, "
                f"got groups {groups}, channels {channels}, width {width}; "
                f"nearest: {nearest_divisor(gcd(channels, width), groups)}"
            )
        self.conv = StridedConv(
            channels, width, kernel, stride, dilation=dilation, groups=groups, bias=bias
        )
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.act = activation(act)

    def layers(self) -> tuple[nn.Module, ...]:
        return layers_of(self.conv, self.norm, self.act)


@kind("classify", "part")
class Classify(nn.Module):
    """Dropout, then a 1x1 convolution with bias to one score per class; weights start from N(0, 0.01)."""

    def __init__(self, channels: int, *, classes: Place[int], dropout: Dropout = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.conv = nn.Conv2d(channels, classes, 1)
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.dropout(x))
        return y


def nearest_divisor(number: int, wanted: int) -> int:
    """Return the divisor of `number` that is closest to `wanted`, for a message; the smaller one of two."""
    divisors = (d for d in range(1, number + 1) if number % d == 0)
    return min(divisors, key=lambda d: abs(d - wanted))


def entry(channels: int, width: int, stride: int) -> nn.Module:
    """Return what brings an input to `width` and `stride`: nothing, or a 3x3 convolution and batch norm.

    For cells that themselves keep width and stride (SegNeXt and ConvNeXt downsample between stages).
    """
    if channels == width and stride == 1:
        return nn.Identity()
    return Conv(channels, width=width, stride=stride, act="none")
