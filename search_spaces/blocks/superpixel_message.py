"""What pixels of one superpixel tell each other: their mean (MSP, Zhu et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Place, Positive, Ratio
from nas.registry import kind
from search_spaces.blocks.precision import at_least_single, without_autocast
from search_spaces.blocks.superpixels import means, superpixels


@kind("superpixel_message", "part")
class SuperpixelMessage(nn.Module):
    """F + `weight` * mean of F over the pixel's superpixel, once for each size in `cells`, one after the other.

    Inputs: a feature and the image; `to` is the feature's stride. The image is averaged to the feature's size, and its
    superpixels begin as squares of `cells` pixels of that map (`superpixels`). No parameters. Sums are fp32.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        *,
        to: Place[int],
        cells: Sequence[Positive] = (4, 6, 13),
        compactness: Ratio = 0.5,
        steps: Positive = 5,
        weight: Ratio = 1.0,
    ) -> None:
        super().__init__()
        if len(channels) != 2:
            raise ValueError(
                f"superpixel_message needs two inputs, the feature and the image; got {len(channels)}"
            )
        self.step, self.cells = to, tuple(cells)
        self.compactness, self.steps, self.weight = compactness, steps, weight

    def labels(self, image: Tensor) -> list[Tensor]:
        """Return the superpixels of each size, (N, H, W) at the feature's size."""
        small = F.avg_pool2d(image, self.step, ceil_mode=True, count_include_pad=False)
        return [superpixels(small, cell, self.compactness, self.steps) for cell in self.cells]

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        with without_autocast(x):
            y = at_least_single(x)
            for cell, labels in zip(self.cells, self.labels(at_least_single(image)), strict=True):
                y = y + self.weight * message(y, labels, cell)
            return y.to(x.dtype)


def message(x: Tensor, labels: Tensor, cell: int) -> Tensor:
    """Return at every pixel the mean of x (N, C, H, W) over the pixels of its label (N, H, W), numbered by cells."""
    found = means(x, labels, torch.zeros_like(x[:, :, ::cell, ::cell])).flatten(2)
    index = labels.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1)
    return found.gather(2, index).reshape(x.shape)
