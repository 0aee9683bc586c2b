"""IFA's way to ask a feature at any place (Hu et al. 2022, section 3.2): the nearest vector, and where it lies."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from nas.fields import Place, Range
from nas.registry import kind
from search_spaces.blocks.precision import at_least_single

Frequencies = Annotated[int, Range(least=0, most=16)]
HIGHEST = 6.0
"""Frequencies start at 2^0 to 2^6."""


def nearest(queries: int, places: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return, for each of `queries` pixels along a side, which of `places` its centre lies in, and where in it.

    Where: from -1 at the place's beginning to 1 at its end.
    """
    centre = 2 * torch.arange(queries, device=device) + 1  # in halves of a pixel
    index = centre * places // (2 * queries)
    offset = centre * places / queries - (2 * index + 1)
    return index, offset


@kind("relative_sample", "part")
class RelativeSample(nn.Module):
    """[r, sin(E r), cos(E r), x_n] for each pixel of ceil(image / to): the nearest vector x_n of x, and r, where it is.

    Inputs: the feature and the image, whose size alone is read. r is from the vector's centre to the pixel's, down and
    across, in -1 to 1; E has `frequencies` rows for each of the two, learned, at the start 2^0 to 2^6. (N, C, H, W) to
    (N, 2 + 4 frequencies + C, h, w). What comes out at a place is the same, whatever other pixels are asked.
    """

    def __init__(
        self, channels: tuple[int, ...], *, to: Place[int], frequencies: Frequencies = 6
    ) -> None:
        super().__init__()
        if len(channels) != 2:
            raise ValueError(
                f"relative_sample needs two inputs, the feature and the image; got {len(channels)}"
            )
        self.step = to
        powers = 2 ** torch.linspace(0, HIGHEST, frequencies)
        rows = torch.stack([powers, torch.zeros(frequencies)], dim=1)
        self.waves = nn.Parameter(torch.cat([rows, rows.flip(1)])) if frequencies else None

    def encode(self, down: Tensor, across: Tensor) -> Tensor:
        """Return r, sin(E r), cos(E r) of offsets (h,) and (w,): (2 + 4 frequencies, h, w), in single precision.

        In half precision a wave of 2^6 would be off by a quarter.
        """
        grid = torch.stack(torch.meshgrid(down, across, indexing="ij"))
        if self.waves is None:
            return grid
        waves = at_least_single(self.waves)[:, :, None, None]
        angles = waves[:, 0] * grid[0] + waves[:, 1] * grid[1]
        return torch.cat([grid, angles.sin(), angles.cos()])

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        height, width = ((n - 1) // self.step + 1 for n in image.shape[-2:])
        rows, down = nearest(height, x.shape[2], x.device)
        columns, across = nearest(width, x.shape[3], x.device)
        found = x[:, :, rows][..., columns]
        places = self.encode(down, across).to(x.dtype).expand(x.shape[0], -1, -1, -1)
        return torch.cat([places, found], dim=1)
