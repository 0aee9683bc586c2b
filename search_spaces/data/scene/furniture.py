"""What stands at the roadside: trees, lamp posts, signs and clutter."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from search_spaces.data.scene.canvas import POLE, SIGN, TREE, VOID, Canvas, Look, Place
from search_spaces.data.scene.fronts import leaf_colours
from search_spaces.data.scene.shapes import grey, paint_box, paint_disc, paint_shadow, tinted

FACES = np.array(
    [[190, 40, 40], [40, 70, 170], [225, 190, 50], [225, 225, 220], [35, 40, 40], [30, 110, 70]],
    float,
)


def paint_tree(canvas: Canvas, rng: Generator, place: Place) -> None:
    """Paint a trunk under a crown of several ragged balls."""
    height, width = rng.uniform(3.5, 9), rng.uniform(1.8, 4.5)
    bark = Look(TREE, np.array([85, 70, 55]) * rng.uniform(0.6, 1.3))
    paint_shadow(canvas, place, width)
    paint_box(canvas, place, bark, width=rng.uniform(0.2, 0.5), low=0, high=height / 2)
    leaves = leaf_colours(rng, 1)[0]
    for _ in range(4):
        low = height * rng.uniform(0.3, 0.5)
        high = low + height * rng.uniform(0.3, 0.55)
        ball = Look(TREE, leaves * rng.uniform(0.8, 1.2), shade=0.45)
        aside, ragged = rng.uniform(-0.3, 0.3) * width, rng.uniform(0.7, 1.15, 9)
        size = width * rng.uniform(0.5, 0.9)
        paint_disc(canvas, place.aside(aside), ball, width=size, low=low, high=high, ragged=ragged)


def paint_pole(canvas: Canvas, rng: Generator, place: Place) -> None:
    """Paint a lamp post, perhaps with an arm over the road, or a bollard."""
    look = Look(POLE, grey(rng, 45, 170) * rng.uniform(0.9, 1.1, 3))
    height = rng.uniform(4, 8) if rng.random() < 0.8 else rng.uniform(0.8, 1.2)
    paint_box(canvas, place, look, width=rng.uniform(0.14, 0.28), low=0, high=height)
    if height > 2 and rng.random() < 0.6:
        arm, inwards = rng.uniform(0.8, 1.8), -np.sign(place.across)
        paint_box(
            canvas, place.aside(inwards * arm / 2), look, width=arm, low=height - 0.15, high=height
        )


def paint_sign(canvas: Canvas, rng: Generator, place: Place) -> None:
    """Paint a traffic sign, a direction board or a traffic light on its pole."""
    low, size = rng.uniform(1.9, 2.6), rng.uniform(0.6, 1.1)
    paint_box(canvas, place, Look(POLE, grey(rng, 90, 160)), width=0.13, low=0, high=low + size / 2)
    outer, inner = rng.permutation(FACES)[:2] * rng.uniform(0.75, 1.1)
    is_round = rng.random() < 0.6
    wide = size if is_round else size * rng.uniform(0.5, 1.8)
    paint = paint_disc if is_round else paint_box
    rim = 0.2 * size
    paint(canvas, place, Look(SIGN, outer, 0.1), width=wide, low=low, high=low + size)
    paint(
        canvas,
        place,
        Look(SIGN, inner, 0.1),
        width=0.6 * wide,
        low=low + rim,
        high=low + size - rim,
    )


def paint_clutter(canvas: Canvas, rng: Generator, place: Place) -> None:
    """Paint a bin, bench or box: a thing without a class."""
    width, height = rng.uniform(0.5, 1.6), rng.uniform(0.5, 1.2)
    paint_shadow(canvas, place, width)
    paint_box(canvas, place, Look(VOID, tinted(rng, 30, 180)), width=width, low=0, high=height)
