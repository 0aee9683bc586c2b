"""Pooling: max pooling by two, and averages over a grid of cells that export at any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Place, Positive
from nas.registry import kind
from search_spaces.blocks.conv import Act, Conv


@kind("max_pool", "part")
class MaxPool(nn.Module):
    """3x3 max pooling with padding 1: (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, channels: int, *, stride: Place[int] = 2) -> None:  # noqa: ARG002
        super().__init__()
        self.pool = nn.MaxPool2d(3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(x)
        return y


def averaging_matrix(size: int, cells: int, like: Tensor) -> Tensor:
    """Return A (cells, size): A @ x is adaptive average pooling of x (size,) to `cells`.

    Cell i averages positions floor(i * size / cells) up to, not including, ceil((i + 1) * size / cells).
    """
    position = torch.arange(size, device=like.device)
    cell = torch.arange(cells, device=like.device).unsqueeze(1)
    start = (cell * size) // cells
    end = ((cell + 1) * size + cells - 1) // cells
    inside = (position >= start) & (position < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)


def adaptive_average(x: Tensor, cells: int) -> Tensor:
    """Return x (N, C, H, W) averaged to (N, C, cells, cells).

    Equal to `adaptive_avg_pool2d`, whose ONNX export at dynamic sizes gives wrong numbers without an error; two matrix
    products, A x B^T, are right at every size.
    """
    if cells == 1:
        return x.mean((2, 3), keepdim=True)
    rows = averaging_matrix(x.shape[2], cells, x)
    columns = averaging_matrix(x.shape[3], cells, x)
    return rows @ x @ columns.T


@kind("pooled_conv", "part")
class PooledConv(nn.Module):
    """Average over bins x bins cells, 1x1 convolution, BN, activation, and bilinear back to the input's size.

    One branch of PSPNet's pyramid pooling; with one bin, the image-level branch of ASPP. With one bin the batch
    norm sees one value per channel and image: in training a batch of one raises ("Expected more than 1 value per
    channel"), so training drops incomplete batches; evaluation takes any batch.
    """

    def __init__(
        self, channels: int, *, width: Place[int], bins: Positive = 1, act: Act = "relu"
    ) -> None:
        super().__init__()
        self.bins = bins
        self.conv = Conv(channels, width=width, kernel=1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(adaptive_average(x, self.bins))
        if self.bins == 1:
            return y.expand(-1, -1, x.shape[2], x.shape[3])
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)
