"""The one normalisation of images, and the colours that classes are drawn in."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

MEAN: tuple[float, float, float] = (0.485, 0.456, 0.406)
STD: tuple[float, float, float] = (0.229, 0.224, 0.225)
PADDING: tuple[int, int, int] = (124, 116, 104)
"""MEAN as uint8: what stands beside an image that does not fill its frame."""


def normalise(
    images: NDArray[np.uint8] | torch.Tensor,
    contrast: torch.Tensor | None = None,
    brightness: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return float32 (N, 3, H, W): `(contrast * image / 255 + brightness - MEAN) / STD`, channels last in memory.

    `images` is a uint8 array (H, W, 3) or (N, H, W, 3), or a uint8 tensor (N, 3, H, W), whose device does the work.
    `contrast` and `brightness` (1 and 0 where they are None) have the shape (N, 3).
    """
    pixels = images if isinstance(images, torch.Tensor) else _tensor(images)
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        came = f"{pixels.dtype} {tuple(pixels.shape)}"
        raise ValueError(
            f"normalise expects uint8 images (N, 3, H, W) or an array (N, H, W, 3); got {came}"
        )
    mean, std = (torch.tensor(v, device=pixels.device) for v in (MEAN, STD))
    gain = (1 / 255 / std).expand(1, 3) if contrast is None else contrast / 255 / std
    offset = (-mean / std).expand(1, 3) if brightness is None else (brightness - mean) / std
    count, channels, height, width = pixels.shape
    rows = pixels.permute(0, 2, 3, 1).reshape(count, height, width * channels)
    # a whole row of pixels at a time: broadcasting over the innermost three channels is five times slower
    wide_gain, wide_offset = (v.repeat(1, width)[:, None] for v in (gain, offset))
    scaled = torch.addcmul(wide_offset, rows.float(), wide_gain)
    return scaled.view(count, height, width, channels).permute(0, 3, 1, 2)


def _tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """Return an array (N, H, W, 3) or (H, W, 3) as a tensor (N, 3, H, W); copies only what is read-only."""
    array = images if images.flags.writeable else images.copy()
    return torch.from_numpy(array.reshape(-1, *array.shape[-3:])).permute(0, 3, 1, 2)


def distinct_colours(count: int) -> NDArray[np.uint8]:
    """Return (count, 3) colours that differ from each other, by the bits of the index (PASCAL VOC's colour map)."""
    index = np.arange(1, count + 1)
    colours: NDArray[Any] = np.zeros((count, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> channel) & 1) << (7 - bit)
        index = index >> 3
    return colours.astype(np.uint8)
