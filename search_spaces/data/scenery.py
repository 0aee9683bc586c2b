"""The still parts of a procedural street: sky, road, pavement, and the fronts that line it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from search_spaces.data.canvas import Camera, Canvas, Floats, clouds

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
VOID = 255
FAR = 110.0


@dataclass(frozen=True, slots=True)
class Street:
    """Where things stand, in metres right of the camera: the road's edges, and the fronts beyond the pavements."""

    kerbs: tuple[float, float]
    fronts: tuple[float, float]
    sun: int


def draw_street(rng: Generator) -> Street:
    """Draw a street that the camera drives along, somewhere in its right-hand lane or so."""
    half, offset = rng.uniform(3.5, 6.5), rng.uniform(-0.5, 2.5)
    kerbs = (-half - offset, half - offset)
    left, right = rng.uniform(2.0, 4.5, 2)
    return Street(kerbs, (kerbs[0] - left, kerbs[1] + right), int(rng.choice([-1, 1])))


def paint_sky(canvas: Canvas, rng: Generator, camera: Camera) -> None:
    """Paint a clear to overcast sky, brighter towards the horizon."""
    height, width = canvas.classes.shape
    clear, grey = np.array([95, 140, 205]), np.full(3, rng.uniform(150, 225))
    overcast = rng.uniform()
    top = clear * (1 - overcast) + grey * overcast
    rise = np.clip(1 - np.arange(height) / max(camera.horizon, 1), 0, 1)[:, None, None]
    canvas.colours[:] = 225 + (top - 225) * rise
    canvas.colours[:] += 22 * clouds(rng, height, width, 7)[:, :, None]


def paint_ground(canvas: Canvas, rng: Generator, camera: Camera, street: Street) -> None:
    """Paint road with lane markings, kerbs and paved sides, in the shadow of the sunny side's fronts."""
    first = max(0, int(np.ceil(camera.horizon + 0.5)))
    rows = np.arange(first, camera.height) + 0.5
    depth = np.minimum(camera.focal * camera.eye / (rows - camera.horizon), 400)[:, None]
    across = (np.arange(camera.width) + 0.5 - camera.vanishing) * depth / camera.focal
    left, right = street.kerbs
    road = (across > left) & (across < right)
    asphalt = rng.uniform(70, 125) + rng.uniform(-6, 6, 3)
    slabs = rng.uniform(90, 175) + rng.uniform(-14, 14, 3)
    colour = np.where(road[:, :, None], asphalt, slabs)
    colour *= 1 - 0.12 * _joints(depth, across)[:, :, None] * ~road[:, :, None]
    kerb = np.minimum(np.abs(across - left), np.abs(across - right)) < 0.15
    colour[kerb] *= rng.uniform(0.7, 1.35)
    colour[_markings(rng, depth, across, street)] = rng.uniform(170, 230)
    edge = street.sun * street.kerbs[int(street.sun > 0)] - rng.uniform(-1, 4)
    shadow = street.sun * across > edge
    colour[shadow] *= rng.uniform(0.5, 0.85)
    colour *= 1 + 0.10 * clouds(rng, len(rows), camera.width, 12)[:, :, None]
    canvas.colours[first:] = colour
    canvas.classes[first:] = np.where(road, ROAD, PAVEMENT)
    canvas.depths[first:] = depth


def _joints(depth: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where the joints between paving slabs are; too fine ones far away are left out."""
    near = depth < 14
    return near & ((across % 0.9 < 0.08) | (depth % 0.9 < 0.1))


def _markings(
    rng: Generator, depth: NDArray[np.float64], across: NDArray[np.float64], street: Street
) -> NDArray[np.bool_]:
    """Return where the road is painted: a dashed middle line, sometimes lines along the kerbs and a crossing."""
    left, right = street.kerbs
    middle = (left + right) / 2
    dashed = (np.abs(across - middle) < 0.09) & ((depth + rng.uniform(0, 6)) % 6 < 3)
    painted = dashed & bool(rng.random() < 0.85)
    if rng.random() < 0.5:
        painted |= (np.abs(across - left - 0.4) < 0.07) | (np.abs(across - right + 0.4) < 0.07)
    if rng.random() < 0.25:
        start = rng.uniform(6, 25)
        stripes = (across > left) & (across < right) & (across % 1.1 < 0.55)
        painted |= stripes & (depth > start) & (depth < start + 3)
    return painted


def paint_fronts(canvas: Canvas, rng: Generator, camera: Camera, street: Street, side: int) -> None:
    """Paint the houses, fences and greenery along one side (-1 left, 1 right), and what ends the street."""
    columns = np.arange(camera.width) + 0.5
    away = side * (columns - camera.vanishing)
    columns = columns[away > 0]
    reach = abs(street.fronts[int(side > 0)])
    depth = np.minimum(camera.focal * reach / away[away > 0], FAR)
    edges = 2 + np.cumsum(rng.uniform(5, 16, 24))
    lot = np.searchsorted(edges, depth)
    kinds = rng.choice([BUILDING, TREE, FENCE], 25, p=[0.68, 0.2, 0.12])
    heights = np.choose(
        np.searchsorted([BUILDING, TREE, FENCE], kinds),
        [rng.uniform(4, 19, 25), rng.uniform(1.5, 9, 25), rng.uniform(0.9, 2, 25)],
    )
    rough = 1 + 0.3 * (kinds == TREE)[lot] * np.sin(depth * 3.1 + rng.uniform(0, 6)) * rng.uniform(
        0.3, 1, len(depth)
    )
    top = camera.horizon + camera.focal * (camera.eye - heights[lot] * rough) / depth
    bottom = camera.horizon + camera.focal * camera.eye / depth
    rows = np.arange(camera.height)[:, None] + 0.5
    inside = (rows > top) & (rows < bottom)
    above = camera.eye + (camera.horizon - rows) * depth / camera.focal
    lit = 0.62 if street.sun == side else 1.0
    colour = _walls(rng, kinds, heights)[lot][None] * lit * np.ones((camera.height, 1, 1))
    _windows(colour, rng, (kinds == BUILDING)[lot], above, depth, lot)
    green = (kinds == TREE)[lot]
    colour[:, green] *= 1 + 0.35 * rng.uniform(-1, 1, (camera.height, int(green.sum()), 1))
    slats = (kinds == FENCE)[lot] & (depth % 0.5 < 0.2) & (depth < 25)
    colour[:, slats] *= 0.65
    part = np.s_[:, int(columns[0]) : int(columns[-1]) + 1]
    canvas.colours[part][inside] = colour[inside]
    canvas.classes[part][inside] = np.broadcast_to(kinds[lot], inside.shape)[inside]
    canvas.depths[part][inside] = np.broadcast_to(depth, inside.shape)[inside]


def _walls(rng: Generator, kinds: NDArray[np.int64], heights: Floats) -> NDArray[np.float64]:
    """Return a colour (3,) for each lot: plaster, brick or concrete, leaves, and wood or stone."""
    count = len(kinds)
    plaster = rng.uniform(80, 215, (count, 1)) * rng.uniform(0.8, 1.15, (count, 3))
    brick = np.array([140, 85, 65]) * rng.uniform(0.7, 1.3, (count, 1))
    walls = np.where(rng.random((count, 1)) < 0.35, brick, plaster)
    leaves = leaf_colours(rng, count)
    boards = rng.uniform(60, 150, (count, 1)) * np.array([1.05, 0.95, 0.8])
    return np.select(
        [(kinds == BUILDING)[:, None], (kinds == TREE)[:, None]], [walls, leaves], boards
    )


def leaf_colours(rng: Generator, count: int) -> NDArray[np.float64]:
    """Return (count, 3) greens, some of them autumnal."""
    green = np.array([70, 95, 45]) * rng.uniform(0.6, 1.4, (count, 1))
    autumn = np.array([135, 95, 45]) * rng.uniform(0.6, 1.2, (count, 1))
    return np.where(rng.random((count, 1)) < 0.2, autumn, green)


def _windows(
    colour: NDArray[np.float64],
    rng: Generator,
    house: NDArray[np.bool_],
    above: NDArray[np.float64],
    depth: NDArray[np.float64],
    lot: NDArray[np.intp],
) -> None:
    """Darken or brighten the windows of the houses, in place: a grid along depth and height."""
    floor, bay = rng.uniform(2.6, 3.6, 25)[lot], rng.uniform(1.6, 3.5, 25)[lot]
    within = (
        (above % floor > 0.9)
        & (above % floor < 2.2)
        & (depth % bay > 0.3 * bay)
        & house
        & (depth < 45)
    )
    glass = rng.uniform(0.35, 0.8, 25) + (rng.random(25) < 0.15) * 0.8
    colour *= np.where(within, glass[lot], 1.0)[:, :, None]
