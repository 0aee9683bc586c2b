"""What lines a street on either side: houses, fences and greenery, lot after lot into the distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from search_spaces.data.scene.canvas import BUILDING, FENCE, TREE, Canvas, Column
from search_spaces.data.scene.ground import Street

FAR = 110.0
LOTS = 25
Many = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lots:
    """The lots along one side, nearest first: class, height in metres, colour (LOTS, 3), grid and tone of windows."""

    edges: Many
    kinds: NDArray[np.int64]
    heights: Many
    colours: Many
    floors: Many
    bays: Many
    glass: Many


def draw_lots(rng: Generator) -> Lots:
    """Draw lots of 5 to 16 m, most of them houses."""
    kinds = rng.choice([BUILDING, TREE, FENCE], LOTS, p=[0.64, 0.2, 0.16])
    sizes = (rng.uniform(low, high, LOTS) for low, high in ((4, 19), (1.5, 9), (0.9, 2)))
    return Lots(
        edges=2 + np.cumsum(rng.uniform(5, 16, LOTS - 1)),
        kinds=kinds,
        heights=_by_kind(kinds, *sizes),
        colours=_by_kind(kinds[:, None], _walls(rng), leaf_colours(rng, LOTS), _boards(rng)),
        floors=rng.uniform(2.6, 3.6, LOTS),
        bays=rng.uniform(1.6, 3.5, LOTS),
        glass=rng.uniform(0.35, 0.8, LOTS) + 0.8 * (rng.random(LOTS) < 0.15),
    )


def _by_kind(kinds: NDArray[np.int64], houses: Many, trees: Many, fences: Many) -> Many:
    return np.where(kinds == BUILDING, houses, np.where(kinds == TREE, trees, fences))


def _walls(rng: Generator) -> Many:
    plaster = rng.uniform(80, 215, (LOTS, 1)) * rng.uniform(0.8, 1.15, (LOTS, 3))
    brick = np.array([140, 85, 65]) * rng.uniform(0.7, 1.3, (LOTS, 1))
    return np.where(rng.random((LOTS, 1)) < 0.35, brick, plaster)


def _boards(rng: Generator) -> Many:
    boards: Many = rng.uniform(60, 150, (LOTS, 1)) * np.array([1.05, 0.95, 0.8])
    return boards


def leaf_colours(rng: Generator, count: int) -> Many:
    """Return (count, 3) greens, some of them autumnal."""
    green = np.array([70, 95, 45]) * rng.uniform(0.6, 1.4, (count, 1))
    autumn = np.array([135, 95, 45]) * rng.uniform(0.6, 1.2, (count, 1))
    return np.where(rng.random((count, 1)) < 0.2, autumn, green)


def paint_fronts(canvas: Canvas, rng: Generator, street: Street, side: int) -> None:
    """Paint one side (-1 left, 1 right) up to the vanishing point, where its last lot closes the view."""
    camera, lots = canvas.camera, draw_lots(rng)
    columns = np.arange(camera.width) + 0.5
    columns = columns[side * (columns - camera.vanishing) > 0]
    reach = abs(street.fronts[int(side > 0)])
    depth = np.minimum(camera.focal * reach / np.abs(columns - camera.vanishing), FAR)
    lot = np.searchsorted(lots.edges, depth)
    top = camera.horizon + camera.focal * (camera.eye - _heights(rng, lots, lot, depth)) / depth
    bottom = camera.horizon + camera.focal * camera.eye / depth
    rows = np.arange(camera.height)[:, None] + 0.5
    inside = (rows > top) & (rows < bottom)
    above = camera.eye + (camera.horizon - rows) * depth / camera.focal
    light = _light(rng, lots, lot, depth, above) * (0.62 if street.sun == side else 1.0)
    colour = light[:, :, None] * lots.colours[lot]
    part = np.s_[:, int(columns[0]) : int(columns[-1]) + 1]
    np.copyto(canvas.colours[part], colour, "same_kind", where=inside[:, :, None])
    np.copyto(canvas.classes[part], lots.kinds[lot].astype(np.uint8), where=inside)
    np.copyto(canvas.depths[part], depth, "same_kind", where=inside)


def _heights(rng: Generator, lots: Lots, lot: NDArray[np.intp], depth: Column) -> Column:
    """Return the height of each column's lot: straight edges for houses and fences, ragged ones for leaves."""
    waves = np.sin(depth * 3.1 + rng.uniform(0, 6)) * rng.uniform(0.3, 1, len(depth))
    heights: Column = lots.heights[lot] * (1 + 0.3 * (lots.kinds[lot] == TREE) * waves)
    return heights


def _light(rng: Generator, lots: Lots, lot: NDArray[np.intp], depth: Column, above: Many) -> Many:
    """Return the share of light (H, columns) that comes back: windows, slats and leaves."""
    light = np.ones_like(above)
    kinds, floors = lots.kinds[lot], lots.floors[lot]
    storey = above % floors
    panes = (kinds == BUILDING) & (depth < 45) & (depth % lots.bays[lot] > 0.3 * lots.bays[lot])
    np.copyto(light, lots.glass[lot], where=panes & (storey > 0.9) & (storey < 2.2))
    light[:, (kinds == FENCE) & (depth % 0.5 < 0.2) & (depth < 25)] *= 0.65
    leaves = np.flatnonzero(kinds == TREE)
    light[:, leaves] *= 1 + 0.35 * rng.uniform(-1, 1, (len(above), len(leaves)))
    return light
