"""Who moves along a street: people on foot, on bicycles and in cars."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from search_spaces.data.scene.canvas import BICYCLIST, CAR, PEDESTRIAN, Canvas, Look, Place
from search_spaces.data.scene.shapes import (
    grey,
    paint_box,
    paint_disc,
    paint_roofed,
    paint_shadow,
    tinted,
)


def paint_person(canvas: Canvas, rng: Generator, place: Place) -> None:
    """Paint someone on foot."""
    paint_shadow(canvas, place, 0.6)
    _paint_body(canvas, rng, place, kind=PEDESTRIAN, lift=0.0)


def _paint_body(canvas: Canvas, rng: Generator, place: Place, *, kind: int, lift: float) -> None:
    """Paint legs apart or together, a coat and a head, all of it `lift` metres above the ground."""
    height, stride = rng.uniform(1.45, 1.9), rng.uniform(0.05, 0.2)
    trousers, coat = Look(kind, tinted(rng, 20, 110)), Look(kind, tinted(rng, 20, 200))
    skin = Look(kind, np.array([205, 160, 130]) * rng.uniform(0.45, 1.1))
    hip, neck, crown = (lift + share * height for share in (0.48, 0.87, 1.0))
    for leg in (-stride, stride):
        paint_box(canvas, place.aside(leg), trousers, width=0.17, low=lift, high=hip)
    paint_roofed(canvas, place, coat, width=rng.uniform(0.42, 0.6), low=hip, high=neck, slope=0.3)
    paint_disc(canvas, place, skin, width=0.24, low=neck - 0.03, high=crown)


def paint_cyclist(canvas: Canvas, rng: Generator, place: Place) -> None:
    """Paint someone on a bicycle, seen from behind (wheels in line) or from the side (wheels apart)."""
    paint_shadow(canvas, place, 1.0)
    rubber, frame = Look(BICYCLIST, grey(rng, 20, 60)), Look(BICYCLIST, tinted(rng, 30, 200))
    turn = rng.uniform(0, 1) ** 2
    for wheel in (-0.52 * turn, 0.52 * turn):
        width = 0.07 + 0.58 * turn
        paint_disc(canvas, place.aside(wheel), rubber, width=width, low=0, high=0.67)
    paint_box(canvas, place, frame, width=0.1 + 0.9 * turn, low=0.4, high=0.6)
    _paint_body(canvas, rng, place, kind=BICYCLIST, lift=0.25)


def paint_car(canvas: Canvas, rng: Generator, place: Place) -> None:
    """Paint a car or van from behind or in front, with the side of it that the camera can see."""
    width, height = rng.uniform(1.65, 1.9), rng.uniform(1.4, 1.65)
    height += rng.uniform(0.3, 0.9) * (rng.random() < 0.2)
    paint = grey(rng, 20, 225) if rng.random() < 0.5 else tinted(rng, 25, 205)
    glass = np.array([45, 55, 65]) * rng.uniform(0.6, 2.2)
    lamps = np.array([200.0, 45, 35]) if rng.random() < 0.6 else np.array([235.0, 230, 205])
    waist = 0.58 * height
    paint_shadow(canvas, place, width + 0.3)
    inner = place.aside(-np.sign(place.across) * width / 2)
    side = Look(CAR, paint * 0.8, 0.3), Look(CAR, glass * 0.8, 0)
    _paint_side(canvas, inner, rng.uniform(3.6, 4.8), side, (0.25, waist, height))
    tyres, body, panes = (
        Look(CAR, c, s) for c, s in ((np.full(3, 25.0), 0), (paint, 0.35), (glass, 0.2))
    )
    for corner in (-0.4 * width, 0.4 * width):
        paint_box(canvas, place.aside(corner), tyres, width=0.22, low=0, high=0.4)
    paint_roofed(canvas, place, body, width=0.86 * width, low=waist, high=height, slope=0.15)
    window = {"low": waist + 0.06, "high": height - 0.12}
    paint_roofed(canvas, place, panes, width=0.72 * width, slope=0.15, **window)
    paint_box(canvas, place, body, width=width, low=0.22, high=waist)
    for corner in (-0.4 * width, 0.4 * width):
        light = place.aside(corner)
        paint_box(canvas, light, Look(CAR, lamps), width=0.28, low=waist - 0.3, high=waist - 0.1)


def _paint_side(
    canvas: Canvas,
    near: Place,
    length: float,
    looks: tuple[Look, Look],
    heights: tuple[float, float, float],
) -> None:
    """Paint the side that runs from `near` into the distance: body up to the waist, glass up to the roof."""
    camera = canvas.camera
    ends = sorted(camera.column(near.depth + d, near.across) for d in (0, length))
    columns = canvas.columns(*ends)
    if abs(near.across) < 0.3 or not len(columns):
        return
    offset = columns - camera.vanishing
    depth = np.clip(
        camera.focal * near.across / np.where(offset == 0, 1e-9, offset),
        near.depth,
        near.depth + length,
    )
    sill, waist, roof = (camera.horizon + camera.focal * (camera.eye - h) / depth for h in heights)
    share = (depth - near.depth) / length
    cabin = waist + (roof - waist) * np.clip(np.minimum(share, 1.15 - share) * 5, 0, 1)
    canvas.fill(columns, (cabin, waist), looks[1], depth)
    canvas.fill(columns, (waist, sill), looks[0], depth)
