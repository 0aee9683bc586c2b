"""MOSAIC's context: averages over cells, and kernels of several sizes on them (Wang and Howard 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Odd, Place, Positive
from nas.registry import kind
from search_spaces.blocks.conv import Act
from search_spaces.blocks.joins import Fuse
from search_spaces.blocks.pooling import PooledConv, adaptive_average
from search_spaces.blocks.separable import Separable


class MultiKernelConv(nn.Module):
    """Channels in as many groups as there are kernels, on each a separable convolution with its own kernel.

    (N, C, H, W) to a dict of (N, width, H, W) by name. Where C is no multiple of the groups, the first ones have a
    channel more (the official code refuses).
    """

    def __init__(self, channels: int, width: int, kernels: Sequence[int], act: Act) -> None:
        super().__init__()
        self.sizes = [(channels + i) // len(kernels) for i in reversed(range(len(kernels)))]
        self.groups = nn.ModuleDict()
        for kernel, size in zip(kernels, self.sizes, strict=True):
            self.groups[f"kernel{kernel}"] = Separable(size, width=width, kernel=kernel, act=act)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        parts = torch.split(x, self.sizes, dim=1)
        return {
            name: group(part)
            for (name, group), part in zip(self.groups.items(), parts, strict=True)
        }


@kind("multi_kernel_pool", "part")
class MultiKernelPool(nn.Module):
    """Average over b x b cells, multi-kernel convolution, bilinear back; for each b in `bins`; fused with the input.

    One set of weights and batch norm statistics for all b. A bin 1 is the image's average behind a 1x1 of its own
    instead. Each branch has width / kernels channels from each kernel; the 1x1 that fuses all has one weight per
    source, which equals one for their concatenation. Cells are those of adaptive pooling: the authors' where b divides
    the map's size, and any map has them.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: Place[int],
        bins: Sequence[Positive] = (1, 4, 8, 16),
        kernels: Sequence[Odd] = (3, 5),
        act: Act = "relu",
    ) -> None:
        super().__init__()
        _check(channels, width, bins, kernels)
        depth = width // len(kernels)
        self.bins = [b for b in bins if b > 1]
        self.grouped = MultiKernelConv(channels, depth, kernels, act)
        self.image = PooledConv(channels, width=depth, act=act) if 1 in bins else None
        sources = {"input": channels}
        for b in self.bins:
            sources |= {f"bins{b}_{name}": depth for name in self.grouped.groups}
        if self.image is not None:
            sources["image"] = depth
        self.fuse = Fuse(sources, width=width, act=act)

    def forward(self, x: Tensor) -> Tensor:
        sources = {"input": x}
        for b in self.bins:
            for name, y in self.grouped(adaptive_average(x, b)).items():
                sources[f"bins{b}_{name}"] = F.interpolate(
                    y, size=x.shape[-2:], mode="bilinear", align_corners=False
                )
        if self.image is not None:
            sources["image"] = self.image(x)
        fused: Tensor = self.fuse(sources)
        return fused


def _check(channels: int, width: int, bins: Sequence[int], kernels: Sequence[int]) -> None:
    """Raise ValueError where these numbers do not make a block."""
    if len(set(bins)) != len(bins) or max(bins, default=1) == 1:
        raise ValueError(
            f"multi_kernel_pool: bins must differ, and one be above 1; got {list(bins)}"
        )
    count = len(kernels)
    if not count or len(set(kernels)) != count or width % count or channels < count:
        raise ValueError(
            f"multi_kernel_pool: kernels must differ, and be as many as divide the width and as there are channels, or "
            f"fewer; got kernels {list(kernels)}, width {width} and {channels} channels"
        )
