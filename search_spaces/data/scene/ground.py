"""Sky, road and pavement of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from search_spaces.data.scene.canvas import PAVEMENT, ROAD, Canvas, clouds


@dataclass(frozen=True, slots=True)
class Street:
    """Metres right of the camera: the road's two edges, and the fronts beyond its pavements; side of the sun."""

    kerbs: tuple[float, float]
    fronts: tuple[float, float]
    sun: int


def draw_street(rng: Generator) -> Street:
    """Draw a street that the camera drives along, somewhere in its right-hand lane or so."""
    half, offset = rng.uniform(3.2, 6), rng.uniform(-0.5, 2.5)
    left, right = rng.uniform(2.0, 4.5, 2)
    kerbs = (-half - offset, half - offset)
    return Street(kerbs, (kerbs[0] - left, kerbs[1] + right), int(rng.choice([-1, 1])))


def paint_sky(canvas: Canvas, rng: Generator) -> None:
    """Paint a clear to overcast sky, brighter towards the horizon."""
    camera = canvas.camera
    clear, overcast = np.array([95, 140, 205]), np.full(3, rng.uniform(150, 225))
    share = rng.uniform()
    top = clear * (1 - share) + overcast * share
    rows = int(camera.horizon) + 2
    rise = np.clip(1 - np.arange(rows) / max(camera.horizon, 1), 0, 1)[:, None, None]
    noise = 22 * clouds(rng, rows, camera.width, 7)[:, :, None]
    canvas.colours[:rows] = 225 + (top - 225) * rise + noise


def paint_ground(canvas: Canvas, rng: Generator, street: Street) -> None:
    """Paint road with its markings, kerbs and paved sides, partly in the shadow of the fronts on the sun's side."""
    camera = canvas.camera
    first = max(0, int(np.ceil(camera.horizon + 0.5)))
    rows = np.arange(first, camera.height) + 0.5
    depth = np.minimum(camera.focal * camera.eye / (rows - camera.horizon), 400)[:, None]
    across = (np.arange(camera.width) + 0.5 - camera.vanishing) * depth / camera.focal
    left, right = street.kerbs
    road = (across > left) & (across < right)
    asphalt = rng.uniform(70, 125) + rng.uniform(-6, 6, 3)
    slabs = rng.uniform(90, 175) + rng.uniform(-14, 14, 3)
    light = 1 + 0.10 * clouds(rng, len(rows), camera.width, 12)
    light[_joints(depth, across) & ~road] *= 0.88
    light[np.minimum(np.abs(across - left), np.abs(across - right)) < 0.15] *= rng.uniform(
        0.7, 1.35
    )
    edge = street.sun * street.kerbs[int(street.sun > 0)] - rng.uniform(-1, 4)
    light[street.sun * across > edge] *= rng.uniform(0.5, 0.85)
    colour = np.where(road[:, :, None], asphalt, slabs)
    colour[_markings(rng, depth, across, street)] = rng.uniform(170, 230)
    canvas.colours[first:] = colour * light[:, :, None]
    canvas.classes[first:] = np.where(road, ROAD, PAVEMENT)
    canvas.depths[first:] = depth


def _joints(depth: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where the joints between paving slabs are, as far as they can be seen."""
    return (depth < 14) & ((across % 0.9 < 0.08) | (depth % 0.9 < 0.1))


def _markings(
    rng: Generator, depth: NDArray[np.float64], across: NDArray[np.float64], street: Street
) -> NDArray[np.bool_]:
    """Return where the road is painted: a dashed middle line, sometimes lines along the kerbs and a crossing."""
    left, right = street.kerbs
    dashed = (np.abs(across - (left + right) / 2) < 0.09) & ((depth + rng.uniform(0, 6)) % 6 < 3)
    painted = dashed & bool(rng.random() < 0.85)
    if rng.random() < 0.5:
        painted |= (np.abs(across - left - 0.4) < 0.07) | (np.abs(across - right + 0.4) < 0.07)
    if rng.random() < 0.25:
        start = rng.uniform(6, 25)
        stripes = (across > left) & (across < right) & (across % 1.1 < 0.55)
        painted |= stripes & (depth > start) & (depth < start + 3)
    return painted
