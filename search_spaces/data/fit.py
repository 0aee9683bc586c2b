"""Fits images and masks into a frame of one size, keeping their aspect ratio."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from search_spaces.data.colour import PADDING
from search_spaces.data.dataset import IGNORE


def fitted_size(size: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    """Return the largest (height, width) of the ratio of `size` in `frame`; `frame` itself where a pixel is missing."""
    scale = min(frame[0] / size[0], frame[1] / size[1])
    height, width = (max(1, round(s * scale)) for s in size)
    same = frame[0] - height <= 1 and frame[1] - width <= 1
    return frame if same else (min(height, frame[0]), min(width, frame[1]))


def fit_image(image: NDArray[np.uint8], frame: tuple[int, int]) -> NDArray[np.uint8]:
    """Return uint8 (*frame, 3): the image in the top left corner, the mean colour where it does not reach."""
    inner = resize_image(image, fitted_size((image.shape[0], image.shape[1]), frame))
    return _framed(inner, frame, np.array(PADDING, np.uint8))


def fit_mask(mask: NDArray[np.uint8], frame: tuple[int, int]) -> NDArray[np.uint8]:
    """Return uint8 `frame`: the mask in the top left corner, IGNORE where it does not reach."""
    inner = resize_mask(mask, fitted_size((mask.shape[0], mask.shape[1]), frame))
    return _framed(inner, frame, np.array(IGNORE, np.uint8))


def resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return uint8 (*size, 3), bilinear with half-pixel centres, antialiased where it shrinks."""
    if image.shape[:2] == size:
        return image
    scaled = functional.interpolate(
        _pixels(image), size, mode="bilinear", antialias=True, align_corners=False
    )
    return scaled[0].permute(1, 2, 0).numpy()


def resize_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return uint8 `size`: for each pixel the class under its centre."""
    if mask.shape == size:
        return mask
    rows, columns = (nearest(old, new) for old, new in zip(mask.shape, size, strict=True))
    return mask.take(rows, 0).take(columns, 1)


def mirrored(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) with left and right exchanged.

    Channel by channel, which is three times faster than pixel by pixel; torch's flip would start a team of threads
    of its own beside the one that trains.
    """
    turned = np.empty(image.shape, np.uint8)
    for channel in range(image.shape[2]):
        turned[:, :, channel] = image[:, ::-1, channel]
    return turned


def _pixels(image: NDArray[np.uint8]) -> torch.Tensor:
    """Return a copy of an image as (1, 3, H, W), channels last by all its strides, as fast kernels want it."""
    return torch.from_numpy(np.array(image))[None].permute(0, 3, 1, 2)


def nearest(old: int, new: int) -> NDArray[np.intp]:
    """Return for each of `new` pixels the one of `old` pixels that its centre lies in."""
    return ((2 * np.arange(new) + 1) * old // (2 * new)).astype(np.intp)


def _framed(
    inner: NDArray[np.uint8], frame: tuple[int, int], value: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    height, width = inner.shape[:2]
    if (height, width) == frame:
        return inner
    framed = np.empty((*frame, *inner.shape[2:]), np.uint8)
    framed[:] = value
    framed[:height, :width] = inner
    return framed
