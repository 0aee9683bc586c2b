"""Closing trees, leaving parts open, and reading decisions back: with bare trees, no kind involved."""

# ruff: noqa: E501 - a case of a table is one line, its file and message in full
from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import Architecture
from nas.choosers import largest, random_chooser, record, replay, smallest
from nas.errors import SpaceError
from nas.language.tree import Choice, Pick, Repeat, Walk
from nas.resolve import closed, decide, resolve
from nas.space import Space, parse
from tests.nas.spaces_for_tests import MOVES, SPACE, trees


def asked(space: Space, index: int = 0) -> list[tuple[str, list[Any]]]:
    """Return the questions that a chooser gets which always takes one option."""
    questions: list[tuple[str, list[Any]]] = []

    def choose(path: str, options: Sequence[Any]) -> int:
        questions.append((path, list(options)))
        return min(index, len(options) - 1)

    resolve(space, choose)
    return questions


def test_each_word_closes_to_plain_data() -> None:
    space = parse(f"""
let: {{k: {{choice: [3, 5]}}}}
a: {{choice: {{mbconv: {{kernel: {{use: k}}}}, zero: {{}}}}}}
b: {{repeat: {{choice: [1, 2]}}, of: {{choice: [x, y]}}}}
c: {{walk: 3, from: 4, moves: {MOVES}}}
d: {{repeat: 2, of: {{pick: 2, from: [prev, prev2, earlier], of: {{choice: {{skip: {{}}, sep: {{kernel: {{use: k}}}}}}}}}}}}
e: {{choice: {{from: 24, to: 48, by: 8}}}}
""")
    assert resolve(space, smallest).tree == {
        "a": {"mbconv": {"kernel": 3}},
        "b": ["x"],
        "c": [4, 4, 4],
        "d": [[{"source": s, "op": {"skip": {}}} for s in ("prev", "prev2")]] * 2,
        "e": 24,
    }
    last = resolve(space, largest).tree
    assert (last["a"], last["b"], last["c"], last["e"]) == (
        {"zero": {}},
        ["y", "y"],
        [8, 16, 32],
        48,
    )
    sep = {"sep": {"kernel": 5}}
    assert last["d"][1] == [{"source": "prev2", "op": sep}, {"source": "item0", "op": sep}]


def test_paths_hold_the_kinds_above_them() -> None:
    space = parse(f"""
let: {{k: {{choice: [3, 5]}}}}
encoder:
  choice:
    stages: {{stages: [{{blocks: {{repeat: {{choice: [2, 3]}}, of: {{choice: {{mbconv: {{kernel: {{use: k}}}}, zero: {{}}}}}}}}}}]}}
    other: {{}}
c: {{walk: 2, from: 8, moves: {MOVES}}}
d: {{choice: [[{{choice: [1, 2]}}], 7]}}
p: {{pick: 1, from: [x, y], of: {{choice: {{a: {{}}, b: {{}}}}}}}}
""")
    assert asked(space) == [
        ("encoder", ["stages", "other"]),
        ("encoder.stages.stages[0].blocks.repeat", [2, 3]),
        ("encoder.stages.stages[0].blocks[0]", ["mbconv", "zero"]),
        ("let.k", [3, 5]),
        ("encoder.stages.stages[0].blocks[1]", ["mbconv", "zero"]),
        ("c[0]@8", [4, 8, 16]),
        ("c[1]@4", [4, 8]),
        ("d", ["[{choice: [1, 2]}]", 7]),
        ("d:0[0]", [1, 2]),
        ("p.pick", ["x", "y"]),
        ("p.x", ["a", "b"]),
    ]


def test_branches_and_lets_that_are_not_taken_are_never_asked_about() -> None:
    space = parse(
        "let: {k: {choice: [3, 5]}}\na: {choice: {x: {k: {use: k}, w: {choice: [1, 2]}}, y: {}}}"
    )
    assert asked(space, 1) == [("a", ["x", "y"])]


def test_a_question_with_one_answer_is_not_asked() -> None:
    assert (
        asked(
            parse(
                "a: {choice: [3]}\nb: {pick: 1, from: [x], of: {}}\nc: {repeat: {choice: [2]}, of: 1}"
            )
        )
        == []
    )


def test_a_choice_is_unlike_others_of_the_same_name() -> None:
    space = parse("a: {repeat: 2, of: {choice: [1, 2]}}")
    assert resolve(space, replay({"a[0]": 0, "a[1]": 1})).tree == {"a": [1, 2]}


def test_a_let_is_one_decision_also_as_a_count() -> None:
    space = parse(
        "let: {d: {choice: [1, 3]}}\na: {repeat: {use: d}, of: 0}\nb: {use: d}\nc: {repeat: {use: d}, of: 1}"
    )
    assert asked(space) == [("let.d", [1, 3])]
    assert resolve(space, largest).tree == {"a": [0, 0, 0], "b": 3, "c": [1, 1, 1]}


def test_bare_trees_close_without_a_space() -> None:
    tree = {"a": Choice((3, 5)), "b": [Choice(({}, {}), ("x", "y"))]}
    assert resolve(tree, largest).tree == {"a": 5, "b": [{"y": {}}]}


@pytest.mark.parametrize("index", [-1, 2])
def test_an_option_that_does_not_exist_is_refused_with_the_path(index: int) -> None:
    with pytest.raises(SpaceError, match=rf"a: option {index} of 2; known: 0 to 1 for \[3, 5\]"):
        resolve(parse("a: {choice: [3, 5]}"), lambda path, options: index)


def test_replay_names_what_was_not_recorded() -> None:
    with pytest.raises(SpaceError, match=r"encoder: no decision was recorded .* 'encodr'"):
        resolve(parse("encoder: {choice: [3, 5]}"), replay({"encodr": 0}))


# leaving open


def test_what_stays_open_knows_its_path() -> None:
    space = parse(
        "let: {k: {choice: [3, 5]}}\na: {choice: {m: {kernel: {use: k}, w: {choice: [1, 2]}}, z: {}}}\nb: {choice: [1, 2]}"
    )
    partly = resolve(space, lambda path, options: None if path in ("a", "let.k") else 0)
    assert isinstance(partly, Space)
    assert partly.tree["a"].path == "a"
    assert (partly.tree["b"], partly.lets["k"].path) == (1, "let.k")
    assert asked(partly) == [("a", ["m", "z"]), ("let.k", [3, 5])]
    assert (space.size(), partly.size()) == (10, 3)


def test_unnamed_options_keep_their_paths_when_what_is_above_closes() -> None:
    space = parse("d: {choice: [[{choice: [1, 2]}], 7]}")
    partly = resolve(space, lambda path, options: 0 if path == "d" else None)
    assert asked(partly) == [("d:0[0]", [1, 2])]


@given(trees(), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_closing_in_two_rounds_equals_closing_in_one(space: Space, seed: int) -> None:
    rng = Random(seed)
    decisions: dict[str, int] = {}
    whole = closed(space, record(random_chooser(rng), decisions))
    partly = resolve(
        space, lambda path, options: None if rng.random() < 0.5 else decisions.get(path, 0)
    )
    if not isinstance(partly, Architecture):
        partly = resolve(partly, lambda path, options: decisions.get(path, 0))
    assert partly == whole


def test_open_counts_walks_and_picks_stay_whole() -> None:
    space = parse(f"a: {{repeat: {{choice: [1, 2]}}, of: {{choice: [3, 4]}}}}\nb: {{walk: 2, from: 4, moves: {MOVES}}}\n"
                  "c: {repeat: 2, of: {pick: 1, from: [x, earlier], of: {choice: {s: {k: {choice: [3, 5]}}, z: {}}}}}")  # fmt: skip
    partly = resolve(space, lambda path, options: 1 if path.endswith(".k") else None)
    assert isinstance(partly.tree["a"], Repeat)
    assert isinstance(partly.tree["b"], Walk)
    pick = partly.tree["c"][1]
    assert isinstance(pick, Pick)
    assert (pick.sources, pick.op("item0").options[0]) == (("x", "item0"), {"k": 5})
    assert asked(partly) == [q for q in asked(space) if not q[0].endswith(".k")]


# reading back


@given(trees(), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_decide_inverts_resolve(space: Space, seed: int) -> None:
    decisions: dict[str, int] = {}
    architecture = closed(space, record(random_chooser(Random(seed)), decisions))
    assert decide(space, architecture) == decisions
    assert closed(space, replay(decisions)) == architecture


def test_decide_inverts_resolve_on_a_space_with_everything() -> None:
    space = parse(SPACE)
    for seed in range(200):
        decisions: dict[str, int] = {}
        architecture = closed(space, record(random_chooser(Random(seed)), decisions))
        assert decide(space, architecture) == decisions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": {"conv": {}}}, r"a: .* expected one of mbconv, zero, got 'conv'"),
        ({"a": {"mbconv": {"kernel": 7}}}, r"let.k: .* expected one of 3, 5, got 7"),
        ({"a": {"mbconv": {"kernel": 3, "more": 1}}}, r"a.mbconv.more: .* no 'more' here .*kernel"),
        ({"a": {"mbconv": {}}}, r"a.mbconv.kernel: .* got 'nothing'"),
        ({"b": [1, 1, 1]}, r"b: .* a list of 1 or 2 items, got '3 items'"),
        ({"b": [9]}, r"b\[0\]: .* one of 1, 2, got 9"),
        ({"c": [4, 16]}, r"c\[1\]@4: .* one of 4, 8, got 16"),
        (
            {"d": [{"source": "y", "op": {}}, {"source": "x", "op": {}}]},
            r"d.pick: .* in this order, got 'y, x'",
        ),
        ({"e": 4}, r"e: .* expected 3, got 4"),
        ({"e": True}, r"e: .* expected 3, got True"),
        ({"f": 5}, r"let.k: .* expected 3 as in the other places that use it, got 5"),
    ],
)
def test_what_lies_outside_is_named_with_its_path(change: dict[str, Any], message: str) -> None:
    space = parse(f"""
let: {{k: {{choice: [3, 5]}}}}
a: {{choice: {{mbconv: {{kernel: {{use: k}}}}, zero: {{}}}}}}
b: {{repeat: {{choice: [1, 2]}}, of: {{choice: [1, 2]}}}}
c: {{walk: 2, from: 4, moves: {MOVES}}}
d: {{pick: 2, from: [x, y], of: {{}}}}
e: 3
f: {{use: k}}
""")
    inside = resolve(space, smallest).tree
    assert decide(space, Architecture.of(inside))["let.k"] == 0
    with pytest.raises(SpaceError, match=message):
        decide(space, Architecture.of(inside | change))


def test_a_hundred_decisions_take_less_than_a_millisecond() -> None:
    stage = "{width: {choice: [16, 24]}, op: {choice: {mbconv: {kernel: 3, expand: 6}, zero: {}}}}"
    space = parse(f"stages: {{repeat: 50, of: {stage}}}")
    assert len(asked(space)) == 100
    times = []
    for _ in range(50):
        start = perf_counter()
        resolve(space, smallest)
        times.append(perf_counter() - start)
    assert min(times) < 1e-3


def test_an_architecture_is_plain_json() -> None:
    space = parse(SPACE)
    text = closed(space, largest).text
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text
