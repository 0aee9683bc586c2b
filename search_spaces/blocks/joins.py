"""What brings features together: resize, sum, concat, fuse (concat and convolution in one), weighted sum."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Odd, Place
from nas.registry import kind
from search_spaces.blocks.conv import Act, Conv, activation
from search_spaces.blocks.norms import group_norm


@kind("resize", "part")
class Resize(nn.Module):
    """Bilinear (align_corners=False) to ceil(image / to); inputs: the feature and the image, whose size alone is read.

    The size is written (n - 1) // to + 1: in this form export proves it equal to that of strided convolutions.
    """

    def __init__(self, channels: tuple[int, ...], *, to: Place[int]) -> None:
        super().__init__()
        if len(channels) != 2:
            raise ValueError(
                f"resize needs two inputs, the feature and the image; got {len(channels)}"
            )
        self.step = to

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        size = [(n - 1) // self.step + 1 for n in image.shape[-2:]]
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


@kind("sum", "part")
class Sum(nn.Module):
    """Sum of features of one shape."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(set(channels)) != 1:
            raise ValueError(
                f"sum needs inputs of one number of channels, got {list(channels)}; "
                "project them to one width first"
            )

    def forward(self, *xs: Tensor) -> Tensor:
        total = xs[0]
        for x in xs[1:]:
            total = total + x
        return total


@kind("concat", "part")
class Concat(nn.Module):
    """Features one after the other along the channels, in the order given.

    In front of a convolution use `fuse`, whose weights do not move when one input gets wider.
    """

    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__()
        self.names = tuple(channels)

    def forward(self, xs: dict[str, Tensor]) -> Tensor:
        return torch.cat([xs[name] for name in self.names], dim=1)


@kind("fuse", "part")
class Fuse(nn.Module):
    """Concat and convolution in one: act(BN(sum_s W_s x_s)), one weight per named source.

    Equal to a convolution of the concatenation, parameter for parameter. With `separable` each source first gets its
    own depthwise kxk, BN and activation, and W_s is 1x1, which equals a separable convolution of the concatenation.
    `norm` "group" puts group norm in the place of the last BN.
    """

    def __init__(
        self,
        channels: dict[str, int],
        *,
        width: Place[int],
        kernel: Odd = 1,
        separable: bool = False,
        act: Act = "relu",
        norm: Literal["batch", "group"] = "batch",
    ) -> None:
        super().__init__()
        self.depthwise = nn.ModuleDict()
        self.sources = nn.ModuleDict()
        inner = 1 if separable else kernel
        for name, c in channels.items():
            if separable:
                self.depthwise[name] = Conv(c, width=c, kernel=kernel, groups=c, act=act)
            self.sources[name] = nn.Conv2d(c, width, inner, padding=inner // 2, bias=False)
        self.norm = group_norm(width) if norm == "group" else nn.BatchNorm2d(width)
        self.act = activation(act)

    def forward(self, xs: dict[str, Tensor]) -> Tensor:
        terms = []
        for name, weight in self.sources.items():
            x = self.depthwise[name](xs[name]) if name in self.depthwise else xs[name]
            terms.append(weight(x))
        total: Tensor = terms[0]
        for term in terms[1:]:
            total = total + term
        y: Tensor = self.act(self.norm(total))
        return y


@kind("weighted_sum", "part")
class WeightedSum(nn.Module):
    """Fast normalised fusion: sum_s relu(w_s) x_s / (1e-4 + sum_s relu(w_s)), all w 1 at the start.

    EfficientDet (Tan et al. 2020), section 3.3. A weight that training pushes below zero gets no gradient any more.
    """

    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__()
        if len(set(channels.values())) != 1:
            raise ValueError(
                f"weighted_sum needs inputs of one number of channels, got {channels}; project them to one width first"
            )
        self.weights = nn.ParameterDict({name: nn.Parameter(torch.ones(())) for name in channels})

    def shares(self) -> dict[str, Tensor]:
        """Return each source's share: not negative, together just under one."""
        positive = {name: torch.relu(w) for name, w in self.weights.items()}
        total = torch.stack(list(positive.values())).sum() + 1e-4
        return {name: w / total for name, w in positive.items()}

    def forward(self, xs: dict[str, Tensor]) -> Tensor:
        first, *others = (share * xs[name] for name, share in self.shares().items())
        for term in others:
            first = first + term
        return first
