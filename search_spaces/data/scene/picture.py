"""A whole scene, and how a camera exposes it."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from search_spaces.data.scene.canvas import Camera, Canvas, Floats
from search_spaces.data.scene.figures import paint_figures
from search_spaces.data.scene.fronts import paint_fronts
from search_spaces.data.scene.ground import draw_street, paint_ground, paint_sky


def draw_scene(
    rng: Generator, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return image uint8 (H, W, 3) and mask uint8 (H, W) of one scene; a few milliseconds at 64 x 128."""
    canvas = Canvas.blank(_draw_camera(rng, size))
    street = draw_street(rng)
    paint_sky(canvas, rng)
    paint_ground(canvas, rng, street)
    for side in (-1, 1):
        paint_fronts(canvas, rng, street, side)
    paint_figures(canvas, rng, street)
    return _exposed(canvas, rng), canvas.classes


def _draw_camera(rng: Generator, size: tuple[int, int]) -> Camera:
    height, width = size
    focal = rng.uniform(0.75, 1.0) * max(width, 1.2 * height)
    horizon, vanishing = rng.uniform(0.4, 0.52) * height, rng.uniform(0.35, 0.65) * width
    return Camera(height, width, horizon, vanishing, focal, eye=rng.uniform(1.2, 1.8))


def _exposed(canvas: Canvas, rng: Generator) -> NDArray[np.uint8]:
    """Return the canvas in haze that grows with depth, in the light of the day, through a soft lens, with noise."""
    clear = np.exp(-canvas.depths / np.float32(rng.uniform(60, 400)))
    clear[np.isinf(canvas.depths)] = 1
    haze = np.float32(rng.uniform(170, 225))
    light = (rng.uniform(0.55, 1.15) * rng.uniform(0.93, 1.07, 3)).astype(np.float32)
    seen = (haze + (canvas.colours - haze) * clear[:, :, None]) * light
    seen = _soft(seen, rng.uniform(0.0, 0.25))
    seen += rng.standard_normal(seen.shape, np.float32) * np.float32(rng.uniform(2, 9))
    return np.clip(seen, 0, 255).astype(np.uint8)


def _soft(image: Floats, share: float) -> Floats:
    """Return the image with `share` of each pixel's light spread to either side, along both axes."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        ends = (
            np.take(padded, range(2, padded.shape[axis]), axis),
            np.take(padded, range(padded.shape[axis] - 2), axis),
        )
        image = image * np.float32(1 - share) + (ends[0] + ends[1]) * np.float32(share / 2)
    return image
