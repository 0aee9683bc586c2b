"""Choosers: what each takes, and that all of them stay inside the space."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.choosers import (
    at,
    cover,
    crossover,
    is_ordered,
    largest,
    mutate,
    random_chooser,
    record,
    replay,
    smallest,
)
from nas.errors import SpaceError
from nas.language.questions import questions
from nas.resolve import closed, decide
from nas.space import Space, parse
from tests.nas.spaces_for_tests import MOVES, SPACE, trees

NESTED = "a: {choice: {x: {k: {choice: [1, 2, 3]}}, y: {}}}\nb: {choice: [1, 2]}"


def drawn(space: Space, seed: int) -> dict[str, int]:
    decisions: dict[str, int] = {}
    closed(space, record(random_chooser(Random(seed)), decisions))
    return decisions


def test_the_same_seed_draws_the_same_architecture() -> None:
    space = parse(SPACE)
    assert [drawn(space, s) for s in range(5)] == [drawn(space, s) for s in range(5)]
    assert len({tuple(drawn(space, s).items()) for s in range(20)}) > 15


def test_smallest_and_largest_take_the_ends() -> None:
    space = parse(NESTED)
    assert closed(space, smallest).tree == {"a": {"x": {"k": 1}}, "b": 1}
    assert closed(space, largest).tree == {"a": {"y": {}}, "b": 2}


@pytest.mark.parametrize(
    ("options", "ordered"),
    [
        ([1, 2, 3], True),
        ([0.5, 1, 2.5], True),
        ([3], True),
        ([2, 1], False),
        ([1, 1], False),
        ([False, True], False),
        (["1", "2"], False),
        ([1, "a"], False),
    ],
)
def test_ordered_numbers_are_recognised(options: list[object], ordered: bool) -> None:
    assert is_ordered(options) == ordered


@given(trees(), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_mutant_differs_in_the_decision_and_stays_inside(space: Space, seed: int) -> None:
    before = drawn(space, seed)
    if not before:
        return
    path = Random(seed).choice(list(before))
    after: dict[str, int] = {}
    mutant = closed(space, record(mutate(Random(seed + 1), before, path), after))
    assert after[path] != before[path]
    assert decide(space, mutant) == after
    assert mutant != closed(space, replay(before))


def test_a_mutation_without_a_path_changes_one_decision_at_random() -> None:
    space = parse(NESTED)
    before = {"a": 0, "a.x.k": 1, "b": 0}
    changed: Counter[str] = Counter()
    for seed in range(60):
        after: dict[str, int] = {}
        closed(space, record(mutate(Random(seed), before), after))
        different = [p for p in after if after[p] != before[p]]
        assert len(different) == 1
        changed[different[0]] += 1
    assert set(changed) == {"a", "a.x.k", "b"}


def test_a_mutation_of_an_unknown_path_is_refused() -> None:
    with pytest.raises(
        SpaceError, match=r"a\.x\.q: not among the decisions to mutate; did you mean 'a\.x\.k'"
    ):
        mutate(Random(0), {"a": 0, "a.x.k": 0}, "a.x.q")


@given(trees(), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_child_takes_every_decision_that_it_can_from_a_parent(space: Space, seed: int) -> None:
    a, b = drawn(space, seed), drawn(space, seed + 1)
    child: dict[str, int] = {}
    closed(space, record(crossover(Random(seed), a, b), child))
    for path, index in child.items():
        parents = [p[path] for p in (a, b) if path in p]
        assert not parents or index in parents


def test_positions_outside_the_space_are_refused() -> None:
    space = parse("a: {choice: [1, 2]}")
    assert [closed(space, at(space, i)).tree["a"] for i in (0, 1)] == [1, 2]
    for position in (-1, 2):
        with pytest.raises(SpaceError, match="in a space of 2 architectures; expected 0 to 1"):
            at(space, position)


def test_uniform_positions_draw_architectures_with_equal_chance() -> None:
    space = parse("a: {choice: {x: {k: {choice: [1, 2, 3]}}, y: {}}}")
    rng = Random(0)
    drawn_ones = Counter(closed(space, at(space, rng.randrange(4))).text for _ in range(4_000))
    assert all(abs(n - 1_000) < 150 for n in drawn_ones.values())


# cover


def taken(rows: list[dict[str, int]]) -> set[tuple[str, int]]:
    return {decision for row in rows for decision in row.items()}


def options(space: Space) -> set[tuple[str, int]]:
    return {(q.path, i) for q in questions(space) for i in range(len(q.labels))}


@given(trees())
@settings(max_examples=200, deadline=None)
def test_a_cover_takes_every_reachable_option(space: Space) -> None:
    rows = cover(space)
    assert taken(rows) == options(space)
    for row in rows:
        assert decide(space, closed(space, replay(row))) == row


def test_a_cover_is_small() -> None:
    space = parse(SPACE)
    rows = cover(space)
    assert taken(rows) == options(space)
    assert len(rows) <= 13
    assert len(cover(parse("a: {repeat: 50, of: {choice: [1, 2, 3]}}"))) == 3
    assert (
        len(cover(parse(f"p: {{walk: 12, from: 4, moves: {MOVES}}}"))) == 10
    )  # as many as one layer has moves


def test_a_cover_takes_the_last_option_where_none_is_left_to_take() -> None:
    rows = cover(parse("a: {choice: [1, 2, 3]}\nb: {choice: [4, 5]}"))
    assert rows == [{"a": 2, "b": 1}, {"a": 1, "b": 0}, {"a": 0, "b": 1}]


def test_a_closed_space_is_covered_by_its_one_architecture() -> None:
    assert cover(parse("a: 1")) == [{}]


def test_lets_that_count_are_covered_together() -> None:
    space = parse("""
let: {a: {choice: [1, 2, 3]}, b: {choice: [2, 0]}}
x: {repeat: {use: a}, of: {choice: [1, 2]}}
y: {repeat: {use: b}, of: {choice: {k: {v: {use: a}}, m: {w: {choice: [3, 4]}}}}}
""")
    rows = cover(space)
    assert taken(rows) == options(space)
    assert len(rows) <= 6
