"""Choices closed by hand: the space that is left has all other questions, and only architectures with those values."""

from __future__ import annotations

import pytest

from nas import registry
from nas.errors import SpaceError
from nas.fix import fixed, parse_fixes
from nas.language.decide import decide
from nas.language.questions import questions
from nas.space import Space, load_space, parse
from tests.nas.relax.spaces import TEXTS


@pytest.fixture(scope="module")
def tiny() -> Space:
    registry.load()
    return load_space("tiny")


def test_every_single_fix_leaves_exactly_the_architectures_that_decide_so() -> None:
    registry.load()
    space = parse(TEXTS["pyramid"])
    every = {a.text for a in space.enumerate()}
    for question in questions(space):
        for i, label in enumerate(question.labels):
            left = {a.text for a in fixed(space, {question.path: str(label)}).enumerate()}
            keeping = {
                a.text for a in space.enumerate() if decide(space, a).get(question.path, i) == i
            }
            assert left == keeping <= every


def test_paths_stay_as_they_were() -> None:
    registry.load()
    space = parse(TEXTS["cells"])
    before = {q.path for q in questions(space)}
    left = fixed(space, {"let.k": "5"})
    assert {q.path for q in questions(left)} == before - {"let.k"}
    assert {q.path for q in questions(fixed(left, {"*.expand": "2"}))} < {
        q.path for q in questions(left)
    }


def test_first_and_last_fix_many_at_once(tiny: Space) -> None:
    widths = {q.path: q.labels for q in questions(tiny) if q.path.endswith("width")}
    for end, index in (("first", 0), ("last", -1)):
        left = fixed(tiny, {"*width": end})
        assert not {q.path for q in questions(left)} & set(widths)
        one = next(left.enumerate())
        for path, taken in decide(tiny, one).items():
            assert path not in widths or widths[path][taken] == widths[path][index]


@pytest.mark.parametrize(
    ("fixes", "said"),
    [
        ({"let.kernal": "5"}, "did you mean 'let.k'"),
        ({"let.k": "4"}, "known: 3, 5"),
        ({"nothing.*": "first"}, "no open choice has this path"),
    ],
)
def test_wrong_fixes_name_the_nearest(fixes: dict[str, str], said: str) -> None:
    registry.load()
    with pytest.raises(SpaceError, match=said):
        fixed(parse(TEXTS["cells"]), fixes)


def test_what_is_inside_something_open_is_not_fixed_alone() -> None:
    registry.load()
    space = parse(TEXTS["path"])
    first = next(q.path for q in questions(space))
    with pytest.raises(SpaceError, match="open as a whole"):
        fixed(space, {first: "first"})
    with pytest.raises(SpaceError, match="nothing is left"):
        fixed(space, {"*": "first"})


@pytest.mark.parametrize("texts", [("a",), ("a=",), ("=1",), ("a=1", "a=2")])
def test_texts_that_are_no_fix(texts: tuple[str, ...]) -> None:
    with pytest.raises(SpaceError, match="--fix"):
        parse_fixes(texts)
    assert parse_fixes(("a=1", "b.c=[1, 2]", "a=1")) == {"a": "1", "b.c": "[1, 2]"}
