"""What scenes are painted on: colours, classes and depths, as one camera sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Column = NDArray[np.float64]

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
VOID = 255


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera that looks along a street; pixels, with depth, width and height in metres."""

    height: int
    width: int
    horizon: float
    vanishing: float
    focal: float
    eye: float

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
class Place:
    """Where a thing stands: metres ahead of the camera, and metres right of its axis."""

    depth: float
    across: float

    def aside(self, metres: float) -> Place:
        """Return the place that many metres further right."""
        return Place(self.depth, self.across + metres)


@dataclass(frozen=True, slots=True)
class Look:
    """A thing's class and colour (3,); its lower end is darker than its upper one by the share `shade`."""

    kind: int
    colour: NDArray[np.float64]
    shade: float = 0.2


@dataclass(frozen=True, slots=True)
class Canvas:
    """colours (H, W, 3) from 0 to 255, classes (H, W), depths (H, W) in metres."""

    camera: Camera
    colours: Floats
    classes: NDArray[np.uint8]
    depths: Floats

    @classmethod
    def blank(cls, camera: Camera) -> Canvas:
        """Return a canvas that is sky at infinite depth everywhere."""
        shape = (camera.height, camera.width)
        depths = np.full(shape, np.inf, np.float32)
        return cls(camera, np.zeros((*shape, 3), np.float32), np.full(shape, SKY, np.uint8), depths)

    def columns(self, left: float, right: float) -> Column:
        """Return the centres of the canvas's columns between two positions: at least one, if any is on it."""
        first, stop = self._columns(left, right)
        centres: Column = np.arange(first, stop, dtype=np.float64) + 0.5
        return centres

    def rectangle(
        self, across: tuple[float, float], down: tuple[float, float], look: Look, depth: float
    ) -> None:
        """Paint all pixels between two columns and two rows: at least one of each, if it is on the canvas."""
        left, right = self._columns(*across)
        top, bottom = round(down[0]), max(round(down[1]), round(down[0]) + 1)
        first, stop = max(top, 0), min(bottom, self.camera.height)
        if left >= right or first >= stop:
            return
        part = np.s_[first:stop, left:right]
        light = 1 - look.shade * (np.arange(first, stop) - top) / (bottom - top)
        self.colours[part] = (light[:, None] * look.colour)[:, None]
        self.classes[part] = look.kind
        self.depths[part] = depth

    def fill(
        self, columns: Column, down: tuple[Column, Column], look: Look, depth: float | Column
    ) -> None:
        """Paint each of the columns between two rows of its own; one pixel where they are less apart."""
        if not len(columns):
            return
        high = np.round(down[0])
        low = np.maximum(np.round(down[1]), high + 1)
        top, bottom = int(high.min()), int(low.max())
        first, stop = max(top, 0), min(bottom, self.camera.height)
        if first >= stop:
            return
        rows = np.arange(first, stop)[:, None]
        inside = (rows >= high) & (rows < low)
        part = np.s_[first:stop, int(columns[0]) : int(columns[-1]) + 1]
        light = 1 - look.shade * (rows - top) / (bottom - top)
        np.copyto(
            self.colours[part], (light * look.colour)[:, None], "same_kind", where=inside[..., None]
        )
        np.copyto(self.classes[part], np.uint8(look.kind), where=inside)
        np.copyto(self.depths[part], depth, "same_kind", where=inside)

    def _columns(self, left: float, right: float) -> tuple[int, int]:
        first = round(left)
        return max(first, 0), min(max(round(right), first + 1), self.camera.width)


def clouds(rng: Generator, height: int, width: int, cells: int) -> Floats:
    """Return smooth noise (height, width) between -1 and 1, with about `cells` bumps along the longer side."""
    rows, columns = (
        max(2, round(cells * side / max(height, width)) + 1) for side in (height, width)
    )
    grid = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return np.asarray(_ramp(height, rows) @ grid @ _ramp(width, columns).T, np.float32)


def _ramp(pixels: int, knots: int) -> Floats:
    """Return the weights (pixels, knots) that interpolate linearly between knots."""
    position = np.linspace(0, knots - 1, pixels)[:, None]
    return np.asarray(np.maximum(0, 1 - np.abs(position - np.arange(knots))), np.float32)
