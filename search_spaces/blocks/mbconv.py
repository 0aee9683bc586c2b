"""Inverted residual with optional squeeze-and-excitation (MobileNetV2, EfficientNet)."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from nas.fields import Odd, Place, Positive, Range, Share
from nas.registry import kind
from search_spaces.blocks.conv import Act, Conv, activation

Expansion = Annotated[float, Range(least=1, most=16)]


class SqueezeExcite(nn.Module):
    """x * sigmoid(W2 act(W1 mean(x))), with `inner` channels between (Hu et al. 2018)."""

    def __init__(self, channels: int, inner: int, act: Act) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.act = activation(act)
        self.excite = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        gate: Tensor = self.excite(self.act(self.squeeze(mean)))
        return x * gate.sigmoid()


@kind("mbconv", "cell")
class MBConv(nn.Module):
    """1x1 to channels * expand, depthwise kxk, squeeze-excite, 1x1 to width; identity added where shapes agree.

    `squeeze_excite` is the share of the block's input channels between its two layers (EfficientNet: 0.25); 0 leaves it
    out. With `expand` 1 there is no first 1x1 (MobileNetV2, Sandler et al. 2018). `dilation` is the depthwise one's.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        kernel: Odd = 3,
        expand: Expansion = 6,
        squeeze_excite: Share = 0,
        act: Act = "relu",
        dilation: Positive = 1,
    ) -> None:
        super().__init__()
        inner = round(channels * expand)
        self.residual = channels == width and stride == 1
        self.expand = (
            Conv(channels, width=inner, kernel=1, act=act) if expand > 1 else nn.Identity()
        )
        self.depthwise = Conv(
            inner,
            width=inner,
            stride=stride,
            kernel=kernel,
            dilation=dilation,
            groups=inner,
            act=act,
        )
        squeezed = max(1, round(channels * squeeze_excite))
        self.squeeze_excite = (
            SqueezeExcite(inner, squeezed, act) if squeeze_excite else nn.Identity()
        )
        self.project = Conv(inner, width=width, kernel=1, act="none")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.squeeze_excite(self.depthwise(self.expand(x))))
        return x + y if self.residual else y
