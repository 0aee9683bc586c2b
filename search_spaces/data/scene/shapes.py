"""Upright shapes that face the camera, given in metres at a place on the ground."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from search_spaces.data.scene.canvas import Canvas, Look, Place


def paint_box(
    canvas: Canvas, place: Place, look: Look, *, width: float, low: float, high: float
) -> None:
    """Paint a rectangle from `low` to `high` above the ground."""
    camera = canvas.camera
    middle, half = camera.column(place.depth, place.across), camera.pixels(place.depth, width) / 2
    down = camera.row(place.depth, high), camera.row(place.depth, low)
    canvas.rectangle((middle - half, middle + half), down, look, place.depth)


def paint_roofed(
    canvas: Canvas, place: Place, look: Look, *, width: float, low: float, high: float, slope: float
) -> None:
    """Paint a rectangle whose upper corners are cut off, over the share `slope` of its half width."""
    camera = canvas.camera
    middle, half = camera.column(place.depth, place.across), camera.pixels(place.depth, width) / 2
    top, bottom = camera.row(place.depth, high), camera.row(place.depth, low)
    columns = canvas.columns(middle - half, middle + half)
    cut = np.clip(np.abs(columns - middle) / max(half, 0.5) - (1 - slope), 0, 0.95 * slope) / slope
    canvas.fill(
        columns, (top + cut * (bottom - top), np.full_like(columns, bottom)), look, place.depth
    )


def paint_disc(
    canvas: Canvas,
    place: Place,
    look: Look,
    *,
    width: float,
    low: float,
    high: float,
    ragged: NDArray[np.float64] | None = None,
) -> None:
    """Paint an ellipse; `ragged` scales its height from its left to its right."""
    camera = canvas.camera
    middle, half = camera.column(place.depth, place.across), camera.pixels(place.depth, width) / 2
    top, bottom = camera.row(place.depth, high), camera.row(place.depth, low)
    columns = canvas.columns(middle - half, middle + half)
    share = (columns - middle) / max(half, 0.6)
    reach = np.sqrt(np.clip(1 - share**2, 0.05, 1)) * (bottom - top) / 2
    if ragged is not None:
        reach = reach * np.interp(share, np.linspace(-1, 1, len(ragged)), ragged)
    centre = (top + bottom) / 2
    canvas.fill(columns, (centre - reach, centre + reach), look, place.depth)


def paint_shadow(canvas: Canvas, place: Place, width: float) -> None:
    """Darken the ground under a thing; its class stays what it is."""
    camera = canvas.camera
    ends = (camera.column(place.depth, place.across + side * width / 2) for side in (-1, 1))
    columns = canvas.columns(*ends)
    if len(columns):
        far, near = (max(0, round(camera.row(max(place.depth + d, 1.5)))) for d in (0.5, -0.5))
        canvas.colours[far : near + 1, int(columns[0]) : int(columns[-1]) + 1] *= 0.6


def grey(rng: Generator, low: float, high: float) -> NDArray[np.float64]:
    """Draw a grey (3,) between two brightnesses."""
    return np.full(3, rng.uniform(low, high))


def tinted(rng: Generator, low: float, high: float) -> NDArray[np.float64]:
    """Draw a colour (3,) with each channel between two brightnesses."""
    return rng.uniform(low, high, 3)
