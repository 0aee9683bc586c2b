"""Training's random views: scale, crop, flip and light, of images that stay uint8 until the device has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from search_spaces.data.fit import mirrored, resize_image, resize_mask


class Augmentation(Protocol):
    """What of a recipe this file reads. `crop` (height, width) is the images' own size where it is None."""

    @property
    def crop(self) -> tuple[int, int] | None: ...
    @property
    def scale(self) -> tuple[float, float]: ...
    @property
    def flip(self) -> float: ...
    @property
    def photometric(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Span:
    """Along one axis: source pixels [start, stop) fill the target's pixels [at, until)."""

    start: int
    stop: int
    at: int
    until: int


def draw_span(rng: Generator, source: int, target: int, scale: float) -> Span:
    """Draw where a crop of `target` pixels lies in a source that `scale` magnifies.

    A source that is smaller than the crop after scaling lies at a random place in it; the rest of the crop is padding.
    """
    window = max(1, round(target / scale))
    if window <= source:
        start = int(rng.integers(source - window + 1))
        return Span(start, start + window, 0, target)
    covered = max(1, min(target, round(source * target / window)))
    at = int(rng.integers(target - covered + 1))
    return Span(0, source, at, at + covered)


@dataclass(frozen=True, slots=True)
class View:
    """What part of an image is seen, where in the crop, and whether mirrored."""

    rows: Span
    columns: Span
    flipped: bool

    def fill(
        self,
        source: tuple[NDArray[np.uint8], NDArray[np.uint8]],
        target: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    ) -> None:
        """Write the view of image (H, W, 3) and mask (H, W) over a padded `target` of the crop's size."""
        rows, columns = self.rows, self.columns
        size = (rows.until - rows.at, columns.until - columns.at)
        seen = np.s_[rows.start : rows.stop, columns.start : columns.stop]
        filled = np.s_[rows.at : rows.until, columns.at : columns.until]
        image, mask = resize_image(source[0][seen], size), resize_mask(source[1][seen], size)
        if self.flipped:
            image, mask = mirrored(image), mask[:, ::-1]
        target[0][filled] = image
        target[1][filled] = mask


def draw_view(
    rng: Generator, recipe: Augmentation, size: tuple[int, int], crop: tuple[int, int]
) -> View:
    """Draw a view of an image of `size` (height, width): the same numbers whether it is then looked at or not."""
    scale = rng.uniform(*recipe.scale)
    rows = draw_span(rng, size[0], crop[0], scale)
    columns = draw_span(rng, size[1], crop[1], scale)
    return View(rows, columns, bool(rng.random() < recipe.flip))


def draw_light(
    rng: Generator, count: int, strength: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw contrast and brightness (count, 3), for `colour.normalise`: contrast and tint about grey, then brightness.

    At `strength` 0.3 contrast varies by 30 %, brightness by 12 % of white, each channel's share by 6 %.
    """
    contrast = 1 + strength * rng.uniform(-1, 1, (count, 1))
    tint = 1 + 0.2 * strength * rng.uniform(-1, 1, (count, 3))
    brightness = 0.5 * (1 - contrast) + 0.4 * strength * rng.uniform(-1, 1, (count, 1))
    gain = contrast * tint
    return gain.astype(np.float32), np.broadcast_to(brightness, gain.shape).astype(np.float32)
