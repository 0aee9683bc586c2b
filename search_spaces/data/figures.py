"""The things that stand and move in a procedural street, each painted at its place and depth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from search_spaces.data.canvas import Camera, Canvas
from search_spaces.data.scenery import (
    BICYCLIST,
    CAR,
    PEDESTRIAN,
    POLE,
    SIGN,
    TREE,
    VOID,
    Street,
    leaf_colours,
)

Colour = NDArray[np.float64]
Paint = Callable[[Canvas, Generator, Camera, float, float], None]


def paint_figures(canvas: Canvas, rng: Generator, camera: Camera, street: Street) -> None:
    """Paint cars, people, trees, poles, signs and clutter, the farthest first."""
    placed = [
        (float(depth), float(across), paint)
        for paint, count, place in _crowd(rng)
        for depth, across in zip(*place(rng, street, count), strict=True)
    ]
    for depth, across, paint in sorted(placed, key=lambda p: -p[0]):
        paint(canvas, rng, camera, depth, across)


Place = Callable[[Generator, Street, int], tuple[NDArray[np.float64], NDArray[np.float64]]]


def _crowd(rng: Generator) -> list[tuple[Paint, int, Place]]:
    """Return what to paint, how often, and where it belongs."""
    return [
        (paint_tree, int(rng.integers(0, 6)), _by_the_kerb),
        (paint_pole, int(rng.integers(2, 7)), _by_the_kerb),
        (paint_sign, int(rng.integers(1, 5)), _by_the_kerb),
        (paint_clutter, int(rng.integers(0, 3)), _on_pavement),
        (paint_person, int(rng.integers(1, 8)), _on_pavement),
        (paint_person, int(rng.integers(0, 2)), _on_road),
        (paint_cyclist, int(rng.integers(0, 4)), _on_road),
        (paint_car, int(rng.integers(1, 5)), _parked),
        (paint_car, int(rng.integers(0, 4)), _on_road),
    ]


def _depths(rng: Generator, count: int, near: float, far: float) -> NDArray[np.float64]:
    """Draw depths, the nearer the denser, since that is what fills a picture."""
    return np.exp(rng.uniform(np.log(near), np.log(far), count))


def _by_the_kerb(
    rng: Generator, street: Street, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    side = rng.integers(0, 2, count)
    across = np.array(street.kerbs)[side] + np.where(side, 1, -1) * rng.uniform(0.3, 1.0, count)
    return _depths(rng, count, 5, 60), across


def _on_pavement(
    rng: Generator, street: Street, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    side = rng.integers(0, 2, count)
    share = rng.uniform(0.1, 0.9, count)
    return _depths(rng, count, 4.5, 40), np.array(street.kerbs)[side] * (1 - share) + np.array(
        street.fronts
    )[side] * share


def _on_road(
    rng: Generator, street: Street, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return _depths(rng, count, 6, 60), rng.uniform(
        street.kerbs[0] + 1.2, street.kerbs[1] - 1.2, count
    )


def _parked(
    rng: Generator, street: Street, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    side = rng.integers(0, 2, count)
    return _depths(rng, count, 6, 50), np.array(street.kerbs)[side] + np.where(
        side, -1.0, 1.0
    ) * rng.uniform(0.9, 1.3, count)


def paint_box(
    canvas: Canvas,
    camera: Camera,
    depth: float,
    across: float,
    *,
    width: float,
    low: float,
    high: float,
    kind: int,
    colour: Colour,
    shade: float = 0.2,
    narrowing: float = 0.0,
) -> None:
    """Paint an upright rectangle that faces the camera; metres; `narrowing` takes that share off its upper corners."""
    middle, half = camera.column(depth, across), camera.pixels(depth, width) / 2
    columns = canvas.columns(middle - half, middle + half)
    top = np.full(len(columns), camera.row(depth, high))
    if narrowing:
        beside = (
            np.clip(np.abs(columns - middle) / max(half, 0.5) - (1 - narrowing), 0, 1) / narrowing
        )
        top += np.clip(beside, 0, 0.95) * (camera.row(depth, low) - top)
    canvas.fill(
        columns, top, camera.row(depth, low), kind=kind, depth=depth, colour=colour, shade=shade
    )


def paint_disc(
    canvas: Canvas,
    camera: Camera,
    depth: float,
    across: float,
    *,
    width: float,
    low: float,
    high: float,
    kind: int,
    colour: Colour,
    shade: float = 0.2,
    ragged: NDArray[np.float64] | None = None,
) -> None:
    """Paint an upright ellipse that faces the camera; `ragged` scales its height over its columns, coarsely."""
    middle, half = camera.column(depth, across), camera.pixels(depth, width) / 2
    columns = canvas.columns(middle - half, middle + half)
    top, bottom = camera.row(depth, high), camera.row(depth, low)
    reach = (
        np.sqrt(np.clip(1 - ((columns - middle) / max(half, 0.6)) ** 2, 0.05, 1))
        * (bottom - top)
        / 2
    )
    if ragged is not None and len(columns):
        reach = reach * np.interp(
            np.linspace(0, 1, len(columns)), np.linspace(0, 1, len(ragged)), ragged
        )
    centre = (top + bottom) / 2
    canvas.fill(
        columns, centre - reach, centre + reach, kind=kind, depth=depth, colour=colour, shade=shade
    )


def paint_shadow(canvas: Canvas, camera: Camera, depth: float, across: float, width: float) -> None:
    """Darken the ground under a thing; its class stays what it is."""
    columns = canvas.columns(
        camera.column(depth, across - width / 2), camera.column(depth, across + width / 2)
    )
    if len(columns):
        rows = np.s_[
            max(0, round(camera.row(depth + 0.5))) : max(
                0, round(camera.row(max(depth - 0.5, 1.5))) + 1
            )
        ]
        canvas.colours[rows, int(columns[0]) : int(columns[-1]) + 1] *= 0.6


def paint_tree(canvas: Canvas, rng: Generator, camera: Camera, depth: float, across: float) -> None:
    """Paint a trunk under a crown of several ragged balls."""
    height, width = rng.uniform(3.5, 9), rng.uniform(1.8, 4.5)
    bark = np.array([85, 70, 55]) * rng.uniform(0.6, 1.3)
    paint_shadow(canvas, camera, depth, across, width)
    paint_box(
        canvas,
        camera,
        depth,
        across,
        width=rng.uniform(0.2, 0.5),
        low=0,
        high=height * 0.5,
        kind=TREE,
        colour=bark,
    )
    leaves = leaf_colours(rng, 1)[0]
    for _ in range(4):
        aside, lower = rng.uniform(-0.3, 0.3) * width, height * rng.uniform(0.3, 0.5)
        size = {
            "width": width * rng.uniform(0.5, 0.9),
            "low": lower,
            "high": lower + height * rng.uniform(0.3, 0.55),
        }
        ragged = rng.uniform(0.7, 1.15, 9)
        tone = leaves * rng.uniform(0.8, 1.2)
        paint_disc(
            canvas,
            camera,
            depth,
            across + aside,
            kind=TREE,
            colour=tone,
            shade=0.45,
            ragged=ragged,
            **size,
        )


def paint_pole(canvas: Canvas, rng: Generator, camera: Camera, depth: float, across: float) -> None:
    """Paint a lamp post, with its arm over the road, or a bollard."""
    colour = np.full(3, rng.uniform(45, 170)) * rng.uniform(0.9, 1.1, 3)
    height = rng.uniform(4, 8) if rng.random() < 0.8 else rng.uniform(0.8, 1.2)
    paint_box(
        canvas,
        camera,
        depth,
        across,
        width=rng.uniform(0.14, 0.28),
        low=0,
        high=height,
        kind=POLE,
        colour=colour,
    )
    if height > 2 and rng.random() < 0.6:
        arm = {"width": rng.uniform(0.8, 1.8), "low": height - 0.15, "high": height}
        paint_box(
            canvas, camera, depth, across - np.sign(across) * 0.6, kind=POLE, colour=colour, **arm
        )


def paint_sign(canvas: Canvas, rng: Generator, camera: Camera, depth: float, across: float) -> None:
    """Paint a traffic sign, a direction board or a traffic light on its pole."""
    grey = np.full(3, rng.uniform(90, 160))
    low, size = rng.uniform(1.9, 2.6), rng.uniform(0.6, 1.1)
    paint_box(
        canvas,
        camera,
        depth,
        across,
        width=0.13,
        low=0,
        high=low + size / 2,
        kind=POLE,
        colour=grey,
    )
    faces = np.array(
        [[190, 40, 40], [40, 70, 170], [225, 190, 50], [225, 225, 220], [35, 40, 40], [30, 110, 70]]
    )
    outer, inner = rng.permutation(faces)[:2] * rng.uniform(0.75, 1.1)
    paint = paint_disc if rng.random() < 0.6 else paint_box
    wide = size * (rng.uniform(0.5, 1.8) if paint is paint_box else 1)
    for colour, share in ((outer, 1.0), (inner, 0.6)):
        rim = size * (1 - share) / 2
        face = {"width": wide * share, "low": low + rim, "high": low + size - rim}
        paint(canvas, camera, depth, across, kind=SIGN, colour=colour, shade=0.1, **face)


def paint_clutter(
    canvas: Canvas, rng: Generator, camera: Camera, depth: float, across: float
) -> None:
    """Paint a bin, bench or box: a thing without a class."""
    colour = rng.uniform(30, 180, 3)
    paint_shadow(canvas, camera, depth, across, 0.9)
    size = {"width": rng.uniform(0.5, 1.6), "high": rng.uniform(0.5, 1.2)}
    paint_box(canvas, camera, depth, across, low=0, kind=VOID, colour=colour, **size)


def paint_person(
    canvas: Canvas, rng: Generator, camera: Camera, depth: float, across: float
) -> None:
    """Paint someone on foot: legs apart or together, coat, head."""
    paint_shadow(canvas, camera, depth, across, 0.6)
    _paint_body(canvas, rng, camera, depth, across, kind=PEDESTRIAN, lift=0.0)


def _paint_body(
    canvas: Canvas,
    rng: Generator,
    camera: Camera,
    depth: float,
    across: float,
    *,
    kind: int,
    lift: float,
) -> None:
    height = rng.uniform(1.45, 1.9)
    coat, trousers = rng.uniform(20, 200, 3), rng.uniform(20, 110, 3)
    skin = np.array([205, 160, 130]) * rng.uniform(0.45, 1.1)
    stride = rng.uniform(0.05, 0.2)
    for leg in (-stride, stride):
        limb = {"width": 0.17, "low": lift, "high": lift + 0.5 * height}
        paint_box(canvas, camera, depth, across + leg, kind=kind, colour=trousers, **limb)
    trunk = {
        "width": rng.uniform(0.42, 0.6),
        "low": lift + 0.45 * height,
        "high": lift + 0.87 * height,
        "narrowing": 0.3,
    }
    paint_box(canvas, camera, depth, across, kind=kind, colour=coat, **trunk)
    head = {"width": 0.24, "low": lift + 0.85 * height, "high": lift + height}
    paint_disc(canvas, camera, depth, across, kind=kind, colour=skin, **head)


def paint_cyclist(
    canvas: Canvas, rng: Generator, camera: Camera, depth: float, across: float
) -> None:
    """Paint someone on a bicycle, seen from behind or from the side."""
    paint_shadow(canvas, camera, depth, across, 1.0)
    rubber = np.full(3, rng.uniform(20, 60))
    apart = rng.uniform(0.0, 0.55)
    for wheel in (-apart, apart):
        size = {"width": 0.08 + apart, "low": 0.0, "high": 0.68}
        paint_disc(canvas, camera, depth, across + wheel, kind=BICYCLIST, colour=rubber, **size)
    frame = {"width": 0.1 + 1.6 * apart, "low": 0.4, "high": 0.6}
    paint_box(
        canvas, camera, depth, across, kind=BICYCLIST, colour=rng.uniform(30, 200, 3), **frame
    )
    _paint_body(canvas, rng, camera, depth, across, kind=BICYCLIST, lift=0.25)


def paint_car(canvas: Canvas, rng: Generator, camera: Camera, depth: float, across: float) -> None:
    """Paint a car or van from behind or in front, with the side that the camera can see."""
    width, height, length = rng.uniform(1.65, 1.9), rng.uniform(1.4, 1.65), rng.uniform(3.6, 4.8)
    height += rng.uniform(0.3, 0.9) * (rng.random() < 0.2)
    grey = np.full(3, rng.uniform(20, 225))
    paint = grey if rng.random() < 0.5 else rng.uniform(25, 205, 3)
    glass = np.array([45, 55, 65]) * rng.uniform(0.6, 2.2)
    waist, roof = 0.58 * height, height
    paint_shadow(canvas, camera, depth, across, width + 0.3)
    inner = across - np.sign(across) * width / 2
    _paint_side(
        canvas,
        camera,
        (depth, length),
        inner,
        heights=(0.25, waist, roof),
        colours=(paint * 0.8, glass * 0.8),
    )
    for tyre in (-0.4, 0.4):
        size = {"width": 0.22, "low": 0.0, "high": 0.4}
        paint_box(
            canvas, camera, depth, across + tyre * width, kind=CAR, colour=np.full(3, 25.0), **size
        )
    cabin = {"width": 0.86 * width, "low": waist, "high": roof, "narrowing": 0.15}
    paint_box(canvas, camera, depth, across, kind=CAR, colour=paint * 0.95, **cabin)
    pane = {"width": 0.72 * width, "low": waist + 0.06, "high": roof - 0.12, "narrowing": 0.15}
    paint_box(canvas, camera, depth, across, kind=CAR, colour=glass, **pane)
    paint_box(
        canvas,
        camera,
        depth,
        across,
        width=width,
        low=0.22,
        high=waist,
        kind=CAR,
        colour=paint,
        shade=0.35,
    )
    lamp = np.array([200, 45, 35]) if rng.random() < 0.6 else np.array([235, 230, 205])
    for corner in (-0.4, 0.4):
        size = {"width": 0.28, "low": waist - 0.3, "high": waist - 0.1}
        paint_box(
            canvas,
            camera,
            depth,
            across + corner * width,
            kind=CAR,
            colour=lamp.astype(np.float64),
            **size,
        )


def _paint_side(
    canvas: Canvas,
    camera: Camera,
    along: tuple[float, float],
    across: float,
    *,
    heights: tuple[float, float, float],
    colours: tuple[Colour, Colour],
) -> None:
    """Paint the side of a car that lies at `across`, from depth `along[0]` over the length `along[1]`."""
    near, length = along
    ends = camera.column(near, across), camera.column(near + length, across)
    columns = canvas.columns(min(ends), max(ends))
    if abs(across) < 0.3 or not len(columns):
        return
    depth = np.clip(
        camera.focal * across / (columns - camera.vanishing + 1e-9), near, near + length
    )
    rows = [camera.horizon + camera.focal * (camera.eye - h) / depth for h in heights]
    share = (depth - near) / length
    roof = rows[1] + (rows[2] - rows[1]) * np.clip(np.minimum(share, 1.15 - share) * 5, 0, 1)
    canvas.fill(columns, roof, rows[1], kind=CAR, depth=depth, colour=colours[1])
    canvas.fill(columns, rows[1], rows[0], kind=CAR, depth=depth, colour=colours[0], shade=0.3)
