"""Places the things and people of a scene along its street, and paints them from far to near."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.random import Generator

from search_spaces.data.scene.canvas import Canvas, Place
from search_spaces.data.scene.furniture import paint_clutter, paint_pole, paint_sign, paint_tree
from search_spaces.data.scene.ground import Street
from search_spaces.data.scene.traffic import paint_car, paint_cyclist, paint_person

Paint = Callable[[Canvas, Generator, Place], None]
Where = Callable[[Generator, Street], Place]


def paint_figures(canvas: Canvas, rng: Generator, street: Street) -> None:
    """Paint everything that stands or moves in the street, the farthest first."""
    for place, paint in sorted(_placed(rng, street), key=lambda p: -p[0].depth):
        paint(canvas, rng, place)


def _placed(rng: Generator, street: Street) -> Iterator[tuple[Place, Paint]]:
    """Yield what is in the scene and where."""
    crowd: list[tuple[Paint, tuple[int, int], Where]] = [
        (paint_tree, (0, 5), _by_the_kerb),
        (paint_pole, (2, 6), _by_the_kerb),
        (paint_sign, (1, 5), _by_the_kerb),
        (paint_clutter, (0, 3), _on_pavement),
        (paint_person, (1, 8), _on_pavement),
        (paint_person, (0, 1), _on_road),
        (paint_cyclist, (0, 3), _on_road),
        (paint_car, (1, 4), _parked),
        (paint_car, (0, 3), _on_road),
    ]
    for paint, (least, most), where in crowd:
        for _ in range(int(rng.integers(least, most + 1))):
            yield where(rng, street), paint


def _depth(rng: Generator, near: float, far: float) -> float:
    """Draw a depth, the nearer the likelier, since that is what fills a picture."""
    return float(np.exp(rng.uniform(np.log(near), np.log(far))))


def _by_the_kerb(rng: Generator, street: Street) -> Place:
    side = int(rng.integers(2))
    return Place(_depth(rng, 5, 60), street.kerbs[side] + (2 * side - 1) * rng.uniform(0.3, 1.0))


def _on_pavement(rng: Generator, street: Street) -> Place:
    side, share = int(rng.integers(2)), rng.uniform(0.1, 0.9)
    across = street.kerbs[side] * (1 - share) + street.fronts[side] * share
    return Place(_depth(rng, 4.5, 40), across)


def _on_road(rng: Generator, street: Street) -> Place:
    return Place(_depth(rng, 6, 60), rng.uniform(street.kerbs[0] + 1.2, street.kerbs[1] - 1.2))


def _parked(rng: Generator, street: Street) -> Place:
    side = int(rng.integers(2))
    return Place(_depth(rng, 6, 50), street.kerbs[side] - (2 * side - 1) * rng.uniform(0.9, 1.3))
