"""Spaces as files: grammar with places, exact sizes, enumeration, options, text and digest."""

# ruff: noqa: E501 - a case of a table is one line, its file and message in full
from __future__ import annotations

import pickle
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings

from nas.choosers import at
from nas.errors import SpaceError, Where
from nas.resolve import closed
from nas.space import Space, load_space, parse, published, spaces
from tests.nas.spaces_for_tests import MOVES, SPACE, trees

ENOUGH = 500


def test_a_walk_over_twelve_layers_has_75025_paths() -> None:
    assert parse(f"p: {{walk: 12, from: 4, moves: {MOVES}}}").size() == 75_025


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("a: 1", 1),
        ("a: {choice: [1, 2, 3]}\nb: {choice: {x: {k: {choice: [1, 2]}}, y: {}}}", 9),
        ("a: {repeat: {choice: [0, 1, 2]}, of: {choice: [1, 2, 3]}}", 13),
        ("a: {repeat: 3, of: {choice: [1, 2]}}", 8),
        ("let: {k: {choice: [3, 5]}}\na: {use: k}\nb: {use: k}", 2),
        ("let: {k: {choice: [3, 5]}}\na: {choice: {x: {k: {use: k}}, y: {}}}", 3),
        (
            "let: {k: {choice: [3, 5]}}\na: {choice: {x: {k: {use: k}}, y: {}}}\nb: {choice: {x: {k: {use: k}}, y: {}}}",
            7,
        ),
        (
            "let: {d: {choice: [1, 2]}}\na: {repeat: {use: d}, of: {choice: [1, 2]}}\nb: {repeat: {use: d}, of: {choice: [1, 2]}}",
            20,
        ),
        (
            "let: {d: {choice: [1, 2]}, e: {use: d}}\na: {repeat: {use: e}, of: {choice: [1, 2]}}\nb: {use: d}",
            6,
        ),
        (
            "let: {k: {choice: [3, 5]}, m: {choice: {x: {k: {use: k}}, y: {}}}}\na: {use: m}\nb: {use: k}",
            4,
        ),
        ("a: {pick: 2, from: [p, q, r], of: {choice: {x: {}, y: {}}}}", 12),
        ("a: {repeat: 3, of: {pick: 2, from: [p, q, earlier], of: {}}}", 1 * 3 * 6),
        ("a: {choice: {from: 0.1, to: 0.5, by: 0.1}}", 5),
    ],
)
def test_sizes_counted_by_hand(text: str, size: int) -> None:
    space = parse(text)
    assert space.size() == size
    assert len(set(space.enumerate())) == size


@given(trees())
@settings(max_examples=200, deadline=None)
def test_enumeration_is_complete_distinct_and_in_the_order_of_positions(space: Space) -> None:
    size = space.size()
    some = list(islice(space.enumerate(), ENOUGH))
    assert len(some) == len(set(some)) == min(size, ENOUGH)
    for position in {0, len(some) // 3, len(some) - 1}:
        assert closed(space, at(space, position)) == some[position]


def test_a_space_with_everything_is_counted_exactly() -> None:
    space = parse(SPACE)
    every = list(space.enumerate())
    assert len(every) == len(set(every)) == space.size()
    for position in range(0, space.size(), 997):
        assert closed(space, at(space, position)) == every[position]


def test_a_copy_counts_the_same() -> None:
    space = parse(SPACE)
    size = space.size()
    again = pickle.loads(pickle.dumps(space))
    assert (again.size(), again.options(), again.digest) == (size, space.options(), space.digest)
    assert closed(again, at(again, 4_321)) == closed(space, at(space, 4_321))


def test_enumeration_is_lazy() -> None:
    space = parse("a: {repeat: 60, of: {choice: [1, 2, 3]}}")
    assert space.size() == 3**60
    assert len(list(islice(space.enumerate(), 5))) == 5
    assert closed(space, at(space, 3**60 - 1)).tree == {"a": [3] * 60}


def test_options_are_those_that_some_architecture_takes() -> None:
    space = parse("let: {k: {choice: [3, 5]}}\na: {choice: {x: {k: {use: k}}, y: {}}}\nb: {repeat: {choice: [1, 2]}, of: {use: k}}\nc: {walk: 2, from: 4, moves: {4: [8], 8: [4, 8], 16: [8]}}")  # fmt: skip
    assert space.options() == [
        ("a", "x"),
        ("a", "y"),
        ("let.k", 3),
        ("let.k", 5),
        ("b.repeat", 1),
        ("b.repeat", 2),
        ("c[1]@8", 4),
        ("c[1]@8", 8),
    ]


def test_where_finds_the_place_of_a_decision() -> None:
    space = parse(SPACE, "s.yaml")
    places = {
        "let.k": "{choice: [3, 5]}",
        "encoder": "choice:\n",
        "encoder.stages.blocks[1].mbconv.expand": "{choice: [3, 6]}",
        "encoder.stages.blocks.repeat": "{use: d}\n        of",
        "encoder.trellis.path[2]@8": "{walk",
        "encoder.trellis.cell[1].item0": "{choice: {zero",
        "encoder.trellis.cell[1].item0.sep.kernel": "{use: k}}}}",
        "m:0": "{a: {use: d}}",
    }
    for path, text in places.items():
        assert space.where(path) == _place(SPACE, text), path
    assert space.where("nothing") == Where("s.yaml", 2, 1)


def _place(text: str, part: str) -> Where:
    """Return where `part` first stands in a text."""
    before = text[: text.index(part)]
    return Where("s.yaml", before.count("\n") + 1, len(before) - before.rfind("\n"))


def test_text_reads_back_to_the_same_space() -> None:
    space = parse(SPACE)
    again = parse(space.text)
    assert (again, again.digest, again.text) == (space, space.digest, space.text)


def test_the_digest_minds_options_and_not_the_order_of_fields() -> None:
    digest = parse("a: {choice: {x: {}, y: {}}}\nb: 1").digest
    assert parse("b: 1 # a comment\na:\n  choice: {x: {}, y: {}}").digest == digest
    assert parse("a: {choice: {y: {}, x: {}}}\nb: 1").digest != digest
    assert parse("a: {choice: {x: {}, y: {}}}\nb: 2").digest != digest


def test_classes_and_input_change_the_data_only() -> None:
    space = parse("task: {semantic: {classes: 4}}\ninput: [3, 8, 8]\na: {choice: [1, 2]}")
    other = space.with_classes(19).with_input((3, 64, 128))
    assert other.tree["task"] == {"semantic": {"classes": 19}}
    assert other.tree["input"] == [3, 64, 128]
    assert (space.tree["input"], space.size(), other.size()) == ([3, 8, 8], 2, 2)
    assert space.digest != other.digest
    with pytest.raises(SpaceError, match="task: expected one"):
        parse("task: {choice: {semantic: {}, panoptic: {}}}").with_classes(3)


BROKEN = [
    ("a: {choice: []}", "1:13: a: `choice` of nothing; expected at least one option"),
    ("a: {choice: {}}", "1:13: a: `choice` of nothing"),
    ("a: {choice: 3}", "1:13: a: `choice` of 3; expected at least one option"),
    ("a: {choice: [1], of: 2}", "1:4: a: `choice` beside of; an open node has no other keys"),
    ("a: {choice: [3, 5, 3]}", "1:20: a: options 1 and 3 can both become 3; remove one"),
    ("a: {choice: [3, 3.0]}", "1:17: a: options 1 and 2 can both become 3; remove one"),
    ("a: {choice: [{x: {choice: [1, 2]}}, {x: 2}]}", "1:37: a: options 1 and 2 can both become {'x': 2}; remove one"),
    ("a: {choice: [[1, 2], {repeat: {choice: [1, 2]}, of: {choice: [1, 2]}}]}", "options 1 and 2 can both become"),
    ("a: {choice: {x: {}, x: {}}}", "1:21: the key 'x' stands twice; first at s:1:14"),
    ("a: {choice: {from: 24, to: 50, by: 8}}", "steps of 8 from 24 reach 48, not 50; write `to: 48`"),
    ("a: {choice: {from: 5, to: 1}}", "expected from <= to and by > 0"),
    ("a: {choice: {from: 1, to: 2, by: 0}}", "expected from <= to and by > 0"),
    ("a: {choice: {from: 1, to: x}}", "expected a range such as {from: 24, to: 48, by: 8}"),
    ("a: {choice: {from: 1, to: 1e9}}", "more than 10,000 options"),
    ("a: {choice: {keep: [1]}}", "`keep` narrows a choice of the file named by `base:`"),
    ("a: {repeat: 3}", "1:4: a: `repeat` without `of`; expected {repeat: 3, of: {...}}"),
    ("a: {repeat: -1, of: 1}", "1:13: a.repeat: expected whole numbers from 0 to 1,000, got -1"),
    ("a: {repeat: many, of: 1}", "1:13: a.repeat: expected a whole number, a choice of them or a use of one, got 'many'"),
    ("a: {repeat: {choice: [1, x]}, of: 1}", "a.repeat: expected whole numbers from 0 to 1,000"),
    ("let: {d: {choice: [a, b]}}\na: {repeat: {use: d}, of: 1}", "2:13: a.repeat: expected whole numbers"),
    ("a: {repeat: 1000, of: {repeat: 1000, of: {x: 1}}}", "may hold 2,001,002 values; at most 100,000"),
    ("a: {walk: 2, from: 4}", "`walk` without `moves`; expected {walk: 12, from: 4, moves: {4: [4, 8], 8: [4, 8]}}"),
    ("a: {walk: 2, from: 2, moves: {4: [4]}}", "1:20: a: from: no moves from stride 2; known: 4"),
    ("a: {walk: 2, from: 4, moves: {4: [4, 8]}}", "1:38: a: moves: to stride 8, which has no moves of its own; known: 4"),
    ("a: {walk: 2, from: 4, moves: {4: []}}", "expected a list of strides to go to"),
    ("a: {walk: 2, from: 4, moves: {4: [4, 4]}}", "the same stride twice"),
    ("a: {walk: 2, from: 4, moves: {4: [{x: 1}]}}", "which has no moves of its own"),
    ("a: {walk: 2, from: 4, moves: {4: [4], b: [4]}}", "expected strides, whole numbers from 1, as keys, got ['b']"),
    ("a: {walk: 0, from: 4, moves: {4: [4]}}", "walk: expected a whole number from 1 to 1,000, got 0"),
    ("a: {pick: 3, from: [x, y], of: {}}", "1:20: a: pick 3 from 2 sources; expected at most 2"),
    ("a: {repeat: 2, of: {pick: 2, from: [x, earlier], of: {}}}", "pick 2 from 1 sources for the first item, which has none earlier"),
    ("a: {pick: 1, from: [x, earlier], of: {}}", "there is no repeat around this"),
    ("a: {pick: 1, from: [x, x], of: {}}", "expected different names"),
    ("a: {repeat: 2, of: {pick: 1, from: [item0, earlier], of: {}}}", "rename the source"),
    ("a: {pick: 1, from: x, of: {}}", "from: expected a list of names of sources, got 'x'"),
    ("a: {pick: 1, from: [x]}", "`pick` without `of`"),
    ("a: {repeat: 99, of: {pick: 3, from: [x, y, z, earlier], of: {}}}", "more than 10,000 ways to pick 3 from 101 sources"),
    ("let: {kernel: {choice: [3, 5]}}\na: {use: kernl}\nb: {use: kernel}", "2:10: a: use: no `let` is called 'kernl'; did you mean 'kernel'?"),
    ("a: {use: [k]}", "use: no `let` is called ['k']; known: none"),
    ("let: {k: {choice: [3, 5]}}\na: 1", "1:7: let.k: 'k' is never used; write {use: k} somewhere, or remove it"),
    ("let: {a: {use: b}, b: {use: a}}\nx: {use: a}", "a let that uses itself"),
    ("let: [1]\na: 1", "1:6: let: expected names and what they stand for, got [1]"),
    ("a.b: 1", "1:1: 'a.b' as a name"),
    ("1: 1", "1:1: 1 as a name; expected letters, digits, _ or - (quote a number that is meant as a name)"),
    ("[1, 2]", "1:1: expected a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_broken_grammar_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(SpaceError) as error:
        parse(text, "s")
    assert message in str(error.value)
    assert str(error.value).startswith("s:")


def test_up_to_ten_errors_come_at_once() -> None:
    text = "\n".join(f"a{i}: {{choice: []}}" for i in range(13))
    with pytest.raises(SpaceError) as error:
        parse(text)
    lines = str(error.value).splitlines()
    assert (len(lines), lines[-1]) == (11, "... and 3 more")


def test_many_lets_in_a_row_are_refused_and_not_a_crash() -> None:
    lets = ", ".join(f"a{i}: {{x: {{use: a{i + 1}}}}}" for i in range(2_000))
    with pytest.raises(SpaceError, match="levels deep"):
        parse(f"let: {{{lets}, a2000: 1}}\nb: {{use: a0}}")
    doubling = ", ".join(f"a{i}: [{{use: a{i + 1}}}, {{use: a{i + 1}}}]" for i in range(60))
    with pytest.raises(SpaceError, match="may hold"):
        parse(f"let: {{{doubling}, a60: 1}}\nb: {{use: a0}}")


# published files and names


def test_every_published_space_loads_and_starts() -> None:
    assert "tiny" in spaces()
    for name in spaces():
        space = load_space(name)
        assert (space.name, load_space(spaces()[name]).digest) == (name, space.digest)
        assert space.size() > 1
        assert next(space.enumerate()).input[0] == 3


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    with pytest.raises(
        SpaceError, match="no file and no published name 'tinny'; did you mean 'tiny'"
    ):
        load_space("tinny")
    with pytest.raises(SpaceError, match=r"no such file: x/tiny\.yaml; did you mean 'tiny'"):
        load_space("x/tiny.yaml")


def test_a_file_is_found_by_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(spaces()["tiny"].read_text())
    assert (
        load_space(file) == load_space("tiny")
        or load_space(file).digest == load_space("tiny").digest
    )
    assert load_space(str(file)).where("encoder") == Where(str(file), *_line(file, "encoder:"))


def test_names_of_architectures_are_listed() -> None:
    assert "deeplabv3plus_resnet18" in published()
    assert all(path.is_file() for path in published().values())


def _line(file: Path, key: str) -> tuple[int, int]:
    lines = file.read_text().splitlines()
    number = next(i for i, line in enumerate(lines, 1) if line.startswith(key))
    return number + 1, 3
