"""BiSeNetV2's gather-and-expansion layer (Yu et al. 2021, section 4.2, figure 5)."""

from __future__ import annotations

from torch import Tensor, nn

from nas.fields import Place, Positive
from nas.registry import kind
from search_spaces.blocks.conv import Act, Conv, activation


@kind("gather_expand", "cell")
class GatherExpand(nn.Module):
    """3x3, depthwise 3x3 to `expand` times the channels, 1x1 to width, beside a shortcut, then the activation.

    Where the stride or the width changes, a second depthwise 3x3 follows the first, which has the stride, and the
    shortcut is a strided depthwise 3x3 and a 1x1. As in the ports there is an activation after the last depthwise
    convolution, which the figure does not show.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        stride: Place[int] = 1,
        expand: Positive = 6,
        act: Act = "relu",
    ) -> None:
        super().__init__()
        inner, keeps = expand * channels, stride == 1 and channels == width
        self.gather = Conv(channels, width=channels, act=act)
        first = Conv(
            channels, width=inner, stride=stride, groups=channels, act=act if keeps else "none"
        )
        second = nn.Identity() if keeps else Conv(inner, width=inner, groups=inner, act=act)
        self.expand = nn.ModuleDict({"first": first, "second": second})
        self.project = Conv(inner, width=width, kernel=1, act="none")
        self.shortcut = nn.Identity() if keeps else _shortcut(channels, width, stride)
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand["second"](self.expand["first"](self.gather(x)))
        z: Tensor = self.act(self.project(y) + self.shortcut(x))
        return z


def _shortcut(channels: int, width: int, stride: int) -> nn.Module:
    """Return a depthwise 3x3 with the stride, then a 1x1, each with batch norm."""
    depthwise = Conv(channels, width=channels, stride=stride, groups=channels, act="none")
    return nn.Sequential(depthwise, Conv(channels, width=width, kernel=1, act="none"))
