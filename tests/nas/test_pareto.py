import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas import pareto

DIRECTIONS = ("maximize", "minimize", "minimize")
points = st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=30)


def dominates(a, b):
    better = (a[0] >= b[0], a[1] <= b[1], a[2] <= b[2])
    return a != b and all(better)


@given(points)
def test_front_is_brute_force(found):
    kept = [i for i, p in enumerate(found) if not any(dominates(q, p) for q in found)]
    assert pareto.front(found, DIRECTIONS) == kept


@given(points.filter(bool))
def test_knee_is_on_the_front(found):
    assert pareto.knee(found, DIRECTIONS) in pareto.front(found, DIRECTIONS)


def test_knee_bulges_most():
    assert pareto.knee([(0.5, 1), (0.9, 2), (1.0, 10)], ("maximize", "minimize")) == 1


def test_knee_of_one_and_of_none():
    assert pareto.knee([(0.5, 1)], ("maximize", "minimize")) == 0
    with pytest.raises(ValueError, match="no points"):
        pareto.knee([], ("maximize",))


@given(points)
def test_hypervolume_is_the_number_of_unit_cells_covered(found):
    """On whole numbers the volume can be counted: cell (x, y, z) is covered if some point is at least as good."""
    worst = (-1, 7, 7)
    cells = itertools.product(range(-1, 6), range(7), range(7))
    covered = sum(any(p[0] > x and p[1] <= y and p[2] <= z for p in found) for x, y, z in cells)
    assert pareto.hypervolume(found, worst, DIRECTIONS) == covered


def test_points_beyond_the_reference_add_nothing():
    assert pareto.hypervolume([(0.1, 9)], (0.2, 5), ("maximize", "minimize")) == 0.0
