"""Pareto fronts: which points no other point beats, which of them is the knee, and how much they cover."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Point = Sequence[float]


def front(points: Sequence[Point], directions: Sequence[str]) -> list[int]:
    """Return the indices, ascending, of the points that no other point dominates; equal points all stay."""
    losses = [_losses(p, directions) for p in points]
    kept: list[int] = []
    for i in sorted(range(len(losses)), key=losses.__getitem__):
        if not any(_dominates(losses[k], losses[i]) for k in kept):
            kept.append(i)
    return sorted(kept)


def knee(points: Sequence[Point], directions: Sequence[str]) -> int:
    """Return the index of the point with the smallest sum of losses, each scaled to 0..1 over the front.

    With two objectives this is the point farthest from the line through the front's two ends. Ties: the first.
    Raises ValueError for no points.
    """
    if not points:
        raise ValueError("the knee of no points; expected at least one")
    ids = front(points, directions)
    columns = list(zip(*(_losses(points[i], directions) for i in ids), strict=True))
    scaled = [_scale(column) for column in columns]
    sums = [sum(row) for row in zip(*scaled, strict=True)]
    return ids[min(range(len(ids)), key=sums.__getitem__)]


def hypervolume(points: Sequence[Point], reference: Point, directions: Sequence[str]) -> float:
    """Return the volume between the points and `reference`; points not better than it in everything add none."""
    worst = _losses(reference, directions)
    losses = [_losses(p, directions) for p in points]
    return _volume([p for p in losses if all(a < b for a, b in zip(p, worst, strict=True))], worst)


def _volume(losses: list[tuple[float, ...]], worst: tuple[float, ...]) -> float:
    """Cut along the last objective and add up slices of one dimension less."""
    if not losses:
        return 0.0
    if len(worst) == 1:
        return worst[0] - min(p[0] for p in losses)
    levels = [*sorted({p[-1] for p in losses}), worst[-1]]
    total = 0.0
    for low, high in pairwise(levels):
        below = [p[:-1] for p in losses if p[-1] <= low]
        total += (high - low) * _volume(below, worst[:-1])
    return total


def _losses(point: Point, directions: Sequence[str]) -> tuple[float, ...]:
    """Return the point with every objective to be minimised."""
    return tuple(-v if d == "maximize" else v for v, d in zip(point, directions, strict=True))


def _dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _scale(column: Sequence[float]) -> list[float]:
    low, high = min(column), max(column)
    return [0.0 if high == low else (v - low) / (high - low) for v in column]
