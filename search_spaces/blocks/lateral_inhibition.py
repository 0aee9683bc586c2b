"""Lateral inhibition (Wang et al. 2020, arXiv 2006.03708), as in its code: a pixel is weakened by those around it."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Odd, Positive, Range
from nas.registry import kind
from search_spaces.blocks.precision import at_least_single, without_autocast

Sigma = Annotated[float, Range(least=0.05, most=50)]


def surround(zone: int, sigma: float) -> Tensor:
    """Return exp(-d^2 / (2 sigma^2)) of the distance d to the centre, and 0 at the centre itself: (zone, zone)."""
    at = torch.arange(zone, device="cpu") - zone // 2
    weights = torch.exp(-(at[:, None] ** 2 + at**2) / (2 * sigma**2))
    weights[zone // 2, zone // 2] = 0
    return weights.to(torch.get_default_device())


@kind("lateral_inhibition", "part")
class LateralInhibition(nn.Module):
    """relu(x - w * sum of the neighbours, weighed by distance), with one w in [0, 1] per channel, 0 at the start.

    (N, C, H, W) to the same; the neighbours are zone x zone pixels, `rate` apart. A depthwise convolution; params: C.
    At w = 0 it is ReLU, so it stands behind one. In training w is put back into [0, 1] before it is used, that is after
    every step of the optimiser (a bound inside the derivative would leave no way back from outside).
    """

    weights: Tensor

    def __init__(
        self, channels: int, *, zone: Odd = 3, sigma: Sigma = 1, rate: Positive = 1
    ) -> None:
        super().__init__()
        self.padding, self.rate = rate * (zone // 2), rate
        self.strength = nn.Parameter(torch.zeros(channels))
        self.register_buffer("weights", surround(zone, sigma), persistent=False)

    def kernel(self) -> Tensor:
        """Return the convolution's weight (C, 1, zone, zone): 1 at the centre, what is taken away around it."""
        strength: Tensor = self.strength
        if self.training:
            with torch.no_grad():
                strength.clamp_(0, 1)
        else:
            strength = strength.clamp(0, 1)
        zone = self.weights.shape[0]
        around = strength[:, None, None, None] * self.weights
        return F.pad(torch.ones_like(around[..., :1, :1]), [zone // 2] * 4) - around

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x):  # as `conv.StridedConv` says of dilated convolutions
            single = at_least_single(x)
            kernel = self.kernel().to(single.dtype)
            groups = kernel.shape[0]
            y = F.conv2d(single, kernel, padding=self.padding, dilation=self.rate, groups=groups)
        return y.relu().to(x.dtype)
