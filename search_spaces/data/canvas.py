"""What procedural scenes are painted on: colours, classes and depths, from far to near."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera that looks along a street; pixels, with depth and width in metres."""

    height: int
    width: int
    horizon: float
    vanishing: float
    focal: float
    eye: float = 1.5

    def row(self, depth: float, above: float = 0.0) -> float:
        """Return the row of a point `above` the ground at `depth`."""
        return self.horizon + self.focal * (self.eye - above) / depth

    def column(self, depth: float, across: float) -> float:
        """Return the column of a point `across` metres right of the camera's axis at `depth`."""
        return self.vanishing + self.focal * across / depth

    def pixels(self, depth: float, metres: float) -> float:
        """Return how many pixels a length has at `depth`."""
        return self.focal * metres / depth


@dataclass(frozen=True, slots=True)
class Canvas:
    """colours (H, W, 3) from 0 to 255, classes (H, W), depths (H, W) in metres."""

    colours: Floats
    classes: NDArray[np.uint8]
    depths: Floats

    @classmethod
    def blank(cls, height: int, width: int, kind: int) -> Canvas:
        """Return a canvas that is `kind` at infinite depth everywhere."""
        shape = (height, width)
        full = np.full(shape, np.inf, np.float32)
        return cls(np.zeros((*shape, 3), np.float32), np.full(shape, kind, np.uint8), full)

    def columns(self, left: float, right: float) -> NDArray[np.float64]:
        """Return the centres of the canvas's columns between two positions, one at least if any is near."""
        first, last = round(left), max(round(right), round(left) + 1)
        return np.arange(max(first, 0), min(last, self.classes.shape[1])) + 0.5

    def fill(
        self,
        columns: NDArray[np.float64],
        top: ArrayLike,
        bottom: ArrayLike,
        *,
        kind: int,
        depth: ArrayLike,
        colour: ArrayLike,
        shade: float = 0.0,
    ) -> None:
        """Paint each of the columns from its `top` to its `bottom`.

        `colour` is (3,) or (columns, 3); `shade` is by how much of it the lower end is darker than the upper one. What
        covers less than a pixel is painted as one where it lies.
        """
        if not len(columns):
            return
        high = np.broadcast_to(np.round(np.asarray(top, np.float64)), columns.shape)
        low = np.maximum(
            np.broadcast_to(np.round(np.asarray(bottom, np.float64)), columns.shape), high + 1
        )
        first, last = max(int(high.min()), 0), min(int(low.max()), self.classes.shape[0])
        if first >= last:
            return
        rows = np.arange(first, last)[:, None]
        inside = (rows >= high) & (rows < low) & (low - high < 4 * self.classes.shape[0])
        part = np.s_[first:last, int(columns[0]) : int(columns[-1]) + 1]
        light = 1 - shade * (rows - first) / max(last - first, 1)
        painted = (
            np.broadcast_to(np.asarray(colour, np.float32), (len(columns), 3))[None]
            * light[:, :, None]
        )
        self.colours[part][inside] = painted.astype(np.float32)[inside]
        self.classes[part][inside] = kind
        self.depths[part][inside] = np.broadcast_to(np.asarray(depth, np.float32), inside.shape)[
            inside
        ]


def clouds(rng: Generator, height: int, width: int, cells: int) -> Floats:
    """Return smooth noise (height, width) between -1 and 1, with about `cells` bumps along the longer side."""
    rows, columns = (
        max(2, round(cells * side / max(height, width)) + 1) for side in (height, width)
    )
    grid = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return _ramp(height, rows) @ grid @ _ramp(width, columns).T


def _ramp(pixels: int, knots: int) -> Floats:
    """Return the weights (pixels, knots) that interpolate linearly between knots."""
    position = np.linspace(0, knots - 1, pixels, dtype=np.float32)[:, None]
    return np.maximum(0, 1 - np.abs(position - np.arange(knots, dtype=np.float32)))
