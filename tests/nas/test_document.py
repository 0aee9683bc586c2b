"""YAML files as values with places: YAML 1.2 scalars, and nothing that costs more than it weighs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import SpaceError, Where
from nas.language.document import MOST_LEVELS, read_file, read_text
from nas.language.notation import to_yaml

SCALARS = [
    ("no", "no"),
    ("yes", "yes"),
    ("on", "on"),
    ("true", True),
    ("False", False),
    ("1e6", 1e6),
    ("1e-5", 1e-5),
    (".5", 0.5),
    ("4.", 4.0),
    ("0123", 123),
    ("-7", -7),
    ("0x1F", 31),
    ("0o17", 15),
    ("2:30", "2:30"),
    ("1_000", "1_000"),
    ("2001-01-01", "2001-01-01"),
    ("~", None),
    ("null", None),
    ("'12'", "12"),
    ('"no"', "no"),
    ("7x7", "7x7"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_plain_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    got = read_text(f"a: {text}").plain()["a"]
    assert (type(got), got) == (type(value), value)


def test_values_and_keys_know_their_places() -> None:
    root = read_text("a: 1\nb:\n  - {c: 2}\n", "f.yaml")
    inner = root.data["b"].data[0].data["c"]
    assert (inner.where, inner.key) == (Where("f.yaml", 3, 9), Where("f.yaml", 3, 6))


def test_an_alias_copies() -> None:
    assert read_text("a: &x {k: [1]}\nb: *x\n").plain() == {"a": {"k": [1]}, "b": {"k": [1]}}


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: 2\na: 3", "f:3:1", "'a' stands twice; first at f:1:1"),
        ("a: {1: x, '1': y}", "f:1:11", "stands twice"),
        ("a: &x [*x]", "f:1:8", r"\*x has no finished anchor"),
        ("a: *nope", "f:1:4", "no finished anchor"),
        ("a: {<<: {b: 1}}", "f:1:5", "merge key"),
        ("a: !!python/object:os.system {}", "f:1:4", "tag"),
        ("a: !!str 3", "f:1:4", "tag"),
        ("? [1, 2]\n: 3", "f:1:3", "a key is a name"),
        ("true: 3", "f:1:1", "a key is a name"),
        ("a: .inf", "f:1:4", "not a finite number"),
        ("a: .nan", "f:1:4", "not a finite number"),
        ("a: 1e999", "f:1:4", "too large"),
        ("a: " + "9" * 5000, "f:1:4", "5000 digits"),
        ("a: 1\n---\nb: 2", "f:2:1", "second document"),
        ("a: [1, 2", "f:", "not YAML"),
        ("a:\n\t- 1", "f:", "not YAML"),
        ("", "f:", "empty"),
        ("# nothing", "f:", "empty"),
    ],
)
def test_refusals_name_the_place(text: str, place: str, words: str) -> None:
    with pytest.raises(SpaceError, match=words) as error:
        read_text(text, "f")
    assert str(error.value).startswith(place)


def test_deep_nesting_is_refused_while_reading() -> None:
    for text in ("[" * 200_000, "a: " + "{b: " * 100_000, "- " * 5_000 + "1"):
        with pytest.raises(SpaceError, match=f"more than {MOST_LEVELS} levels"):
            read_text(text)


def test_an_exponential_expansion_is_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(SpaceError, match="aliases written out"):
        read_text("\n".join(lines))


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text("a: " + "x" * 1_000_001)
    with pytest.raises(SpaceError, match="at most 1,000,000"):
        read_file(file)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: \xe9")
    with pytest.raises(SpaceError, match=r"latin\.yaml: not UTF-8"):
        read_file(latin)
    with pytest.raises(SpaceError, match=r"cannot read .*none\.yaml"):
        read_file(tmp_path / "none.yaml")


NUMBERS = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
SCALAR = (
    st.none()
    | st.booleans()
    | NUMBERS
    | st.text(max_size=20)
    | st.sampled_from([s for s, _ in SCALARS])
)
KEYS = st.text(min_size=1, max_size=6).filter(lambda k: k != "<<")
DATA = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None)
@given(DATA)
def test_written_data_reads_back_equal(data: Any) -> None:
    again = read_text(to_yaml({"top": data})).plain()["top"]
    assert again == data
    assert type(again) is type(data)
