"""Averages over the cells of a coarser grid, wherever they begin (adaptive pooling to a stride)."""

from __future__ import annotations

from torch import Tensor, nn

from nas.fields import Place
from nas.registry import kind
from search_spaces.blocks.pooling import averaging_matrix


@kind("pool_to", "part")
class PoolTo(nn.Module):
    """Adaptive average pooling to ceil(image / to); inputs: the feature and the image, whose size alone is read.

    As two matrix products, which export right at every size.
    """

    def __init__(self, channels: tuple[int, ...], *, to: Place[int]) -> None:
        super().__init__()
        if len(channels) != 2:
            raise ValueError(
                f"pool_to needs two inputs, the feature and the image; got {len(channels)}"
            )
        self.step = to

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        rows, columns = ((n - 1) // self.step + 1 for n in image.shape[-2:])
        pooled = averaging_matrix(x.shape[2], rows, x) @ x
        return pooled @ averaging_matrix(x.shape[3], columns, x).T
